"""Decoding with acceptance prediction heads: everything that needs tensors."""

from heads.cascade import Cascade
from heads.generation import Generation, LevelReport
from heads.head import AcceptancePredictionHead

__all__ = ["AcceptancePredictionHead", "Cascade", "Generation", "LevelReport"]
