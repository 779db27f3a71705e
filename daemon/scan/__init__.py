"""The prescreen: a scene's pixels to candidates, and to the area that was looked at."""

from daemon.scan.prescreen import ScanResult, ScanSettings, scan

__all__ = ["ScanResult", "ScanSettings", "scan"]
