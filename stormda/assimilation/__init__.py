"""assimilation"""
