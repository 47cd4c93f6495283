"""Compares the engines that one model can become: size, memory, speed, and what each loses."""
