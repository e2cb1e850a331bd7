"""Analyse and classify the sound of a program: tracks, PCM of any kind, files."""
