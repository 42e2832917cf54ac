"""Losses between an encoder that trains (online) and one that follows it or stands still (offline)."""
