"""Pictures of samples, as arrays (h, w, 3) uint8."""
