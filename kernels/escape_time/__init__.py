"""The Mandelbrot set: mandelbrot."""
