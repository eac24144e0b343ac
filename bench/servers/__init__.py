"""The servers that are measured, one file each."""
