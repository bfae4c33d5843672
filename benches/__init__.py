"""Benchmarks of umr beside its rivals; each file runs alone (see its docstring)."""
