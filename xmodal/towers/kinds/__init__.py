"""Kinds of towers that are read from somewhere: libraries, stores, runs. Each imports its library late."""
