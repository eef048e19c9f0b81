"""What every worker does: take tickets and run chunks; and the words, the waiting and the interrupts around it."""
