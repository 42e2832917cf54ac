"""Speech and demo data made on the spot."""
