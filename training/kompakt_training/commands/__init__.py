"""The commands' parsers, which import what does the work only for a command line that is right:
PyTorch alone takes seconds.
"""
