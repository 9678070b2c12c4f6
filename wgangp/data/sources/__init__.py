"""Where images and arrays come from: the functions that conf/dataset names. They return `Images` or `Arrays`."""

from wgangp.data.sources.arrays import array
from wgangp.data.sources.faces import celeba
from wgangp.data.sources.folders import image_folder
from wgangp.data.sources.huggingface import huggingface
from wgangp.data.sources.moving_digits import moving_digits
from wgangp.data.sources.published import stacked_digits, torchvision_dataset
from wgangp.data.sources.videos import video_folder

__all__ = [
    "array",
    "celeba",
    "huggingface",
    "image_folder",
    "moving_digits",
    "stacked_digits",
    "torchvision_dataset",
    "video_folder",
]
