"""Several questions about one recording, each with answers of its own."""
