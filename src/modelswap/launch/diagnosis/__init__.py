"""Finds out why a model server ended or cannot be started.

diagnosis     which line of a server's output says why it ended
symptoms      the lines that engines print, and their causes
unstartable   why a program cannot be started
"""
