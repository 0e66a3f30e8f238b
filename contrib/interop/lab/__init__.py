"""A small internet with a namespace for each server, and what servers of different makes must have of each other."""
