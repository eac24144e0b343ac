"""The hosts: what is run on them over ssh, and what keeps them warm and clean."""
