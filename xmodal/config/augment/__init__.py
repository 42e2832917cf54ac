"""What training may change in an item of each modality: amounts and their ranges. Imports no torch."""
