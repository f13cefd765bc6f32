"""What is wrong with a chain: files, fit, numbers, behaviour, decoding, speed; each fault with its likely cause."""
