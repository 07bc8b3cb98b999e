"""The prompts that the starter models are judged by, in figures and by eye."""

# The words are in the starter models' vocabulary; no training caption is one of these.
PROMPTS = (
    "a red apple on a wooden table",
    "a lighthouse above a stormy sea at dusk",
    "green hills under a blue sky",
    "a golden sunset over the desert",
    "a snowy mountain at night",
    "a blue teapot",
    "a field of yellow sunflowers",
    "a forest in autumn",
    "an orange cat",
    "a full moon over dark water",
    "a pink flower in a green garden",
    "a waterfall in the jungle",
    "a city at night in the rain",
    "a white sailing boat on the sea",
    "a purple butterfly",
    "a castle on a hill in fog",
    "a slice of watermelon",
    "a volcano with glowing lava",
    "a tropical beach with palm trees",
    "a bowl of green apples",
)
