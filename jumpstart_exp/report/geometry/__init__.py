"""Figures of paper Geometry: what networks make of the plane, and where their gradient lives."""
