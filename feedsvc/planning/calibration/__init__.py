"""Calibration: unit costs measured on this system, with the service's own functions.

It works on scratch stores only, with fixture accounts and fixture viewers. No user sees them.
"""
