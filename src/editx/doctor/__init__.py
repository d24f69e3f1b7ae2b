"""What would work on this machine, what would not, and one remedy for each thing that would not."""

from editx.doctor.check import Check, Status
from editx.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Check", "Diagnosis", "Status", "diagnose"]
