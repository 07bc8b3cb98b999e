"""Stable Diffusion 1, 2 and XL, and what was distilled from them, from a diffusers folder.

Only the networks are diffusers' own; the steps are `generation.engines.latent_diffusion`'s.
Nothing is fetched, and weights are read from safetensors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from generation.clip.perceptor import Perceptor
from generation.clip.sending import send
from generation.engine import EngineError
from generation.engines.conditions import Rows
from generation.engines.controls import ControlNets, Hint
from generation.engines.diffusers_folders import incomplete, read_config, read_network
from generation.engines.loras import LoRAs
from generation.engines.noise_schedules import TrainedNoise

# Latents as colours in −1..1, a row for each of four channels and one to add: linear fits to what
# the published autoencoders decode. Source: the latent formats of ComfyUI, where SD and SDXL are.
_SD_COLOURS = (
    (0.3512, 0.2297, 0.3227),
    (0.3250, 0.4974, 0.2350),
    (-0.2829, 0.1762, 0.2721),
    (-0.2120, -0.2616, -0.7177),
    (0.0, 0.0, 0.0),
)
_SDXL_COLOURS = (
    (0.3651, 0.4232, 0.4341),
    (-0.2533, -0.0042, 0.1068),
    (0.1076, 0.1111, -0.0362),
    (-0.3165, -0.2492, -0.2188),
    (0.1084, -0.0175, -0.0011),
)
# Above so many pixels the autoencoder works in tiles: in one piece it takes 12 kB a pixel.
_TILED_PIXELS = 768 * 768


class StableDiffusion:
    """A `NoiseModel` of a diffusers folder.

    `perceptor` judges finished pictures, and `release` gives it back; both may be missing.
    `lora_weights` reads a LoRA's tensors by its name, `control_folder` finds a ControlNet's folder.

    Raises:
        EngineError: something is missing in the folder, or damaged.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        perceptor: Perceptor | None = None,
        release: Callable[[], None] = lambda: None,
        lora_weights: Callable[[str], dict[str, Tensor]] | None = None,
        control_folder: Callable[[str], Path] | None = None,
    ) -> None:
        self._device = device
        self._half = torch.float16 if device.type == "cuda" else torch.float32
        self._perceptor, self._release = perceptor, release
        self.trained = TrainedNoise.from_config(
            read_config(folder, "scheduler/scheduler_config.json")
        )
        self._unet = read_network(folder, "unet", "UNet2DConditionModel", self._half, device)
        self._vae = read_network(folder, "vae", "AutoencoderKL", torch.float32, device)
        index = read_config(folder, "model_index.json")
        self._encoders = [_TextEncoder(folder, "", self._half, device)]
        self._is_xl = (folder / "text_encoder_2").is_dir()
        if self._is_xl:
            self._encoders.append(_TextEncoder(folder, "_2", self._half, device))
        self._loras = LoRAs(self._unet, [encoder.model for encoder in self._encoders], lora_weights)
        # SDXL was trained with zeros for no prompt.
        self._empty_is_zero = self._is_xl and bool(index.get("force_zeros_for_empty_prompt", True))
        if self._unet.config.in_channels != self._vae.config.latent_channels:
            raise EngineError(
                f"{folder.name} needs more than a prompt to draw from (it was made for inpainting "
                "or the like). Take the model that it was made from; masks work with that."
            )
        self.latent_channels = int(self._vae.config.latent_channels)
        self.factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        self._controls = ControlNets(self._unet, self.factor, control_folder, self._half, device)
        self.knows_guidance = self._unet.config.time_cond_proj_dim is not None
        colours = _SDXL_COLOURS if self._is_xl else _SD_COLOURS
        self._colours = torch.tensor(colours, device=device)

    def encode_prompt(self, text: str) -> tuple[Tensor, Tensor | None]:
        """Return token states [length, dim], 77 for each 75 tokens, and SDXL's pooled vector."""
        encoded = [encoder.encode(text, penultimate=self._is_xl) for encoder in self._encoders]
        # Two tokenizers may cut a text into different numbers of pieces.
        pieces = max(states.shape[0] for states, _ in encoded)
        whole = [
            torch.cat([states, *[encoder.nothing(self._is_xl)] * (pieces - len(states))])
            for (states, _), encoder in zip(encoded, self._encoders, strict=True)
        ]
        states, pooled = torch.cat(whole, dim=-1).flatten(0, 1), encoded[-1][1]
        if self._empty_is_zero and not text.strip():
            states = torch.zeros_like(states)
            pooled = None if pooled is None else torch.zeros_like(pooled)
        return states, pooled

    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Rows,
        guidance: Tensor,
        hints: Sequence[Hint | None] = (),
    ) -> Tensor:
        """Ask the network; see `NoiseModel.predict`."""
        added: dict[str, Tensor] | None = None
        if self._is_xl:
            height, width = (side * self.factor for side in latents.shape[2:])
            sizes = send([height, width, 0, 0, height, width], latents.device, self._half)
            assert rows.pooled is not None
            added = {"text_embeds": rows.pooled, "time_ids": sizes.expand(len(latents), -1)}
        told = None
        if self.knows_guidance:
            told = guidance_embedding(guidance - 1, self._unet.config.time_cond_proj_dim)
            told = told.to(self._half)
        answer: Tensor = self._unet(
            latents.to(self._half),
            timesteps,
            encoder_hidden_states=rows.states,
            # Padding must not be attended to: what company has to say would change a picture.
            encoder_attention_mask=None if len(set(rows.lengths)) == 1 else rows.mask,
            timestep_cond=told,
            added_cond_kwargs=added,
            return_dict=False,
            **self._controls.residuals(hints, latents, timesteps, rows, added),
        )[0]
        return answer.float()

    def use_control(self, name: str) -> None:
        """Have a ControlNet ready; see `NoiseModel.use_control`."""
        self._controls.load(name)

    def use_lora(self, name: str, scale: float) -> None:
        """Add a LoRA to the networks' weights; see `NoiseModel.use_lora`."""
        self._loras.use(name, scale)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the likeliest latents of pictures in 0..1."""
        self._tile(pictures.shape[-1] * pictures.shape[-2])
        latents: Tensor = self._vae.encode(pictures * 2 - 1).latent_dist.mode()
        mean, std = self._normal()
        return (latents - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents, in about 0..1."""
        self._tile(latents.shape[-1] * latents.shape[-2] * self.factor**2)
        mean, std = self._normal()
        picture: Tensor = self._vae.decode(latents * std + mean, return_dict=False)[0]
        return picture / 2 + 0.5

    def preview(self, latents: Tensor) -> Tensor:
        """Return a cheap likeness in 0..1, one pixel a latent."""
        if latents.shape[1] + 1 != len(self._colours):
            return (latents[:, :1].expand(-1, 3, -1, -1) / 4 + 0.5).clamp(0, 1)
        colours = torch.einsum("nchw,cd->ndhw", latents, self._colours[:-1])
        return ((colours + self._colours[-1].view(1, 3, 1, 1)) / 2 + 0.5).clamp(0, 1)

    def score(self, picture: Tensor, text: str) -> float | None:
        """Return CLIP's cosine of a picture [3, h, w] with a text."""
        return None if self._perceptor is None else float(self._perceptor.score(picture, [text])[0])

    def close(self) -> None:
        """Give the perceptor back."""
        self._release()

    def _normal(self) -> tuple[Tensor | float, Tensor | float]:
        """Return the mean and spread of the autoencoder's own latents."""
        config = self._vae.config
        scale = 1 / config.scaling_factor
        if config.latents_mean is None or config.latents_std is None:
            return config.shift_factor or 0.0, scale
        mean, std = (
            torch.tensor(values, device=self._device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, std * scale

    def _tile(self, pixels: int) -> None:
        if pixels > _TILED_PIXELS:
            self._vae.enable_tiling()
        else:
            self._vae.disable_tiling()


class _TextEncoder:
    """A CLIP text encoder with its tokenizer. Long texts are encoded in pieces of 75 tokens."""

    def __init__(self, folder: Path, number: str, half: torch.dtype, device: torch.device) -> None:
        from transformers import CLIPTokenizer

        kind = "CLIPTextModelWithProjection" if number else "CLIPTextModel"
        self.model = read_network(folder, f"text_encoder{number}", kind, half, device)
        place = folder / f"tokenizer{number}"
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(incomplete(folder, place.name)) from error
        self._device = device

    def encode(self, text: str, *, penultimate: bool) -> tuple[Tensor, Tensor | None]:
        """Return states [pieces, 77, dim] and the first piece's projection [dim], if it has one.

        SDXL takes the states before the last layer, the others those after it.
        """
        tokens = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        first, last = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        room = int(self.model.config.max_position_embeddings) - 2
        pieces = [tokens[at : at + room] for at in range(0, max(1, len(tokens)), room)]
        filler = self._tokenizer.pad_token_id
        padded = [[first, *piece, last, *[filler] * (room - len(piece))] for piece in pieces]
        answer = self.model(torch.tensor(padded, device=self._device), output_hidden_states=True)
        states: Tensor = answer.hidden_states[-2] if penultimate else answer.last_hidden_state
        pooled = getattr(answer, "text_embeds", None)
        return states, None if pooled is None else pooled[0]

    def nothing(self, penultimate: bool) -> Tensor:
        """Return the states of an empty piece [1, 77, dim]."""
        return self.encode("", penultimate=penultimate)[0]


def guidance_embedding(guidance: Tensor, width: int) -> Tensor:
    """Return guidance [n] as a consistency model is told it: sines, then cosines, [n, width].

    Source: Meng et al., On Distillation of Guided Diffusion Models (2023).
    """
    half = width // 2
    frequencies = torch.exp(
        torch.arange(half, device=guidance.device) * (-torch.log(torch.tensor(1e4)) / (half - 1))
    )
    angles = 1000 * guidance[:, None] * frequencies
    embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
