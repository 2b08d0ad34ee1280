"""Reference networks in PyTorch, their neurons, and how to read their checkpoints."""

from s2f_models.checkpoint import CheckpointInfo as CheckpointInfo
from s2f_models.checkpoint import load_checkpoint as load_checkpoint
from s2f_models.e_spikeformer import ESpikeFormer as ESpikeFormer
from s2f_models.e_spikeformer import ESpikeFormerConfig as ESpikeFormerConfig
from s2f_models.errors import CheckpointError as CheckpointError
from s2f_models.errors import ModelError as ModelError
from s2f_models.event_classifier import EventClassifier as EventClassifier
from s2f_models.event_classifier import EventClassifierConfig as EventClassifierConfig
from s2f_models.neuron import IntegerFire as IntegerFire
from s2f_models.recording import record_counts as record_counts
from s2f_models.registry import count_parameters as count_parameters
from s2f_models.registry import create as create
from s2f_models.registry import find_config as find_config
from s2f_models.registry import list_models as list_models
from s2f_models.spike2former import Spike2Former as Spike2Former
from s2f_models.spike2former import Spike2FormerConfig as Spike2FormerConfig
from s2f_models.spike_yolo import SpikeYolo as SpikeYolo
from s2f_models.spike_yolo import SpikeYoloConfig as SpikeYoloConfig
