"""The names of recipes as publications write them."""

# He et al. for the first five and RESET, otherwise the publications in `docs/algorithms.md`.
_NAMES = {
    "bp": "BP",
    "l2": "L2",
    "er": "ER",
    "l2_er": "L2-ER",
    "cbp": "CBP",
    "cbp_l2": "CBP + L2",
    "snp": "S&P",
    "snp_l2": "S&P + L2",
    "reset": "RESET",
    "redo": "ReDo",
    "regrama": "ReGraMa",
    "snr": "SNR",
    "l2_init": "L2 Init",
    "wasserstein": "Wasserstein",
    "spectral_reg": "Spectral regularization",
    "parseval": "Parseval",
    "layernorm_l2": "LayerNorm + L2",
    "nap": "NaP",
    "upgd": "UPGD",
    "hare_tortoise": "Hare & Tortoise",
    "cpr": "CPR",
    "selective_reinit": "Selective weight reinitialization",
    "fire": "FIRE",
    "dash": "DASH",
    "weight_clipping": "Weight clipping",
    "soft_weight_rescaling": "Soft Weight Rescaling",
    "trac": "TRAC",
    "adam_local_time": "Adam-Rel",
    "c_chain": "C-CHAIN",
}


def published_name(recipe: str) -> str:
    """The name of a recipe in text and figures. Other names stay as they are.

    ```python
    published_name("l2_er")  # 'L2-ER'
    ```
    """
    return _NAMES.get(recipe, recipe)
