"""Calibration: unit costs measured on this system, with the service's own functions.

It works only on scratch stores, with fixture accounts and fixture viewers.
"""
