"""Our pools behind other people's interfaces."""
