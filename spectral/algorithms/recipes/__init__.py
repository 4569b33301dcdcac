"""Recipes: algorithms by name, each one expression. Presets: recipes with published settings."""
