"""Figures on autoencoders: initialisation, corruption, networks, bottlenecks, losses, penalties, weights."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from shared import BLUE, GREEN, GREY, ORANGE, RED, curve, digits, plain, show_images, unexplained
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.bottlenecks import TopK
from sklearn_ae.corruptions import CORRUPTIONS, FeatureStats, GaussianNoise
from sklearn_ae.losses import Huber
from sklearn_ae.penalties import L1, Contractive


def index():
    """Reconstructions from four components, of one test digit of each kind."""
    train, test, labels = digits()
    shown = np.array([test[labels == digit][0] for digit in range(10)])
    fig, axes = plt.subplots(3, 1, figsize=(8, 2.4), layout="constrained")
    show_images(axes[0], shown, "Test digits\n64 pixels")
    models = {
        "PCA": PCA(4).fit(train),
        "Autoencoder": AutoencoderTransformer(4, max_iter=60, random_state=0).fit(train),
    }
    for ax, (name, model) in zip(axes[1:], models.items(), strict=True):
        share = 1 - unexplained(model, test, train.mean(axis=0))
        show_images(
            ax,
            model.inverse_transform(model.transform(shown)),
            f"{name}, 4 numbers\n{share:.0%} of the variance",
        )
    return fig


def corruption():
    """The kinds of corruption, and denoised digits."""
    train, test, _ = digits()
    fig = plt.figure(figsize=(9, 3.0), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=(1, 1.25))
    left.suptitle("Training samples", fontsize=11)
    ae = AutoencoderTransformer(8, corruption="gaussian", max_iter=1, early_stopping=False, random_state=0)
    module = ae.fit(train).module_
    x = torch.from_numpy((test[:7] - ae.mean_) / ae.scale_)
    stats = FeatureStats(module.zero, module.low, module.high)
    options = {"gaussian": {"scale": 0.5}, "masking": {}, "salt_and_pepper": {}, "rayleigh": {"scale": 0.5}}
    for ax, (name, params) in zip(left.subplots(4, 1), options.items(), strict=True):
        noisy = CORRUPTIONS[name](**params)(x, torch.Generator().manual_seed(0), stats)
        show_images(ax, ae.mean_ + ae.scale_ * noisy.numpy(), name)
    right.suptitle("Test digits with normal noise of scale 1, 16 components", fontsize=11)
    noisy = test[:9] + ae.scale_ * np.random.RandomState(0).normal(size=(9, 64))
    models = {
        "PCA": PCA(16),
        "plain": AutoencoderTransformer(16, max_iter=60, random_state=0),
        "denoising": AutoencoderTransformer(
            16, corruption=GaussianNoise(scale=1.0), max_iter=100, random_state=0
        ),
    }
    axes = right.subplots(4, 1)
    show_images(axes[0], noisy, "noisy")
    for ax, (name, model) in zip(axes[1:], models.items(), strict=True):
        show_images(ax, model.fit(train).inverse_transform(model.transform(noisy)), name)
    return fig


def network():
    """Curves fitted by networks of three sizes."""
    X = curve(frequency=3.0)
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained", sharey=True)
    for ax, sizes, colour in zip(axes, [(), (2,), (256, 128)], (RED, ORANGE, BLUE), strict=True):
        model = AutoencoderTransformer(
            1, hidden_layer_sizes=sizes, max_iter=600, batch_size=64, early_stopping=False, random_state=0
        )
        share = 1 - unexplained(model.fit(X), X, X.mean(axis=0))
        on_curve(ax, X, model, colour, f"hidden_layer_sizes={sizes}\n{share:.0%} of the variance explained")
        ax.label_outer()
    return fig


def on_curve(ax, X, model, colour, title, **scatter):
    """Plot samples in the plane and the decoded curve."""
    codes = model.transform(X)[:, 0]
    steps = np.quantile(codes, np.linspace(0.001, 0.999, 300))
    line = model.inverse_transform(steps[:, None])
    ax.scatter(*X.T, s=7, color=GREY, alpha=0.6, linewidth=0, **scatter)
    ax.plot(*line.T, color=colour, linewidth=2.2)
    ax.set_title(title, fontsize=10)
    plain(ax, xlabel="first feature", ylabel="second feature")


def start():
    """Validation loss from both initialisations."""
    train, test, _ = digits()
    fig, ax = plt.subplots(figsize=(6, 3.1), layout="constrained")
    for init, colour, style in (("pca", BLUE, "-"), ("random", ORANGE, "--")):
        model = AutoencoderTransformer(8, init=init, max_iter=60, random_state=0).fit(train, X_val=test)
        shares = model.validation_loss_curve_
        ax.plot(range(1, 1 + len(shares)), shares, style, color=colour, linewidth=2, label=f'init="{init}"')
    pca = PCA(8).fit(train)
    level = unexplained(pca, test, train.mean(axis=0))
    ax.axhline(level, color=RED, linewidth=1.5, linestyle=":")
    ax.text(60, level, "PCA, epoch 0", color=RED, ha="right", va="bottom", fontsize=9)
    plain(ax, xlabel="epoch", ylabel="unexplained share of the variance", ylim=(0, 0.65), xlim=(0, 61))
    ax.set_title("Validation set, digits, 8 components", fontsize=10)
    ax.legend(frameon=False)
    return fig


def bottleneck():
    """Explained variance of ordered codes, and sparse codes."""
    train, test, _ = digits()
    centre, sizes = train.mean(axis=0), np.arange(1, 17)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=(1.2, 1))
    ordered = AutoencoderTransformer(16, bottleneck="ordered", max_iter=60, random_state=0).fit(train)
    pca = PCA(16).fit(train)
    shares = [1 - unexplained(ordered.truncate(k), test, centre) for k in sizes]
    codes = pca.transform(test)
    of_pca = [np.square(codes[:, :k]).sum() / np.square(test - centre).sum() for k in sizes]
    left.plot(sizes, of_pca, color=RED, marker="s", markersize=4, label="PCA(16), truncated")
    left.plot(
        sizes, shares, color=BLUE, marker="o", markersize=4, label='"ordered", one model of 16, truncated'
    )
    some = [2, 4, 8, 16]
    alone = [
        1 - unexplained(AutoencoderTransformer(k, max_iter=60, random_state=0).fit(train), test, centre)
        for k in some
    ]
    left.plot(some, alone, "D", color=ORANGE, label='"identity", one model per size')
    plain(left, xlabel="components kept", ylabel="share of the variance explained", ylim=(0, 1), xticks=some)
    left.legend(frameon=False, fontsize=9, loc="lower right")
    panels = []
    for option in ("identity", TopK(n_active=4), "relu"):
        model = AutoencoderTransformer(32, bottleneck=option, penalty=L1(0.05), max_iter=40, random_state=0)
        codes = model.fit(train).transform(test[:12])
        panels.append(codes / np.abs(codes).max())
    gap = np.full((1, 32), np.nan)
    picture = np.vstack([panels[0], gap, panels[1], gap, panels[2]])
    image = right.imshow(picture, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    right.set_yticks([5.5, 18.5, 31.5], ['"identity"', "TopK(4)", '"relu"'])
    right.set_title("Codes of 12 digits, 32 components, penalty=L1(0.05)", fontsize=10)
    right.set_xlabel("component")
    fig.colorbar(image, ax=right, label="code, scaled to at most 1", shrink=0.8)
    return fig


def loss():
    """Losses, and their robustness to outlying values."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 600)
    clean = np.sin(np.outer(t, rng.uniform(0.5, 2, 12)) + rng.uniform(0, 6, 12))
    X = clean + 0.05 * rng.normal(size=clean.shape)
    X += np.where(rng.rand(*X.shape) < 0.05, rng.exponential(5.0, size=X.shape), 0.0)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    r = np.linspace(-3, 3, 301)
    huber = np.where(np.abs(r) <= 0.5, r**2 / 2, 0.5 * (np.abs(r) - 0.25))
    lines = {"squared_error": (r**2, RED), "absolute_error": (np.abs(r), GREEN), "huber": (huber, BLUE)}
    for name, (values, colour) in lines.items():
        left.plot(r, values, color=colour, linewidth=2, label=name.replace("huber", "Huber(delta=0.5)"))
    plain(left, xlabel="residual, in working units", ylabel="loss of an entry", ylim=(0, 4))
    left.legend(frameon=False, fontsize=9)
    options = {"squared_error": RED, "absolute_error": GREEN, Huber(0.5): BLUE}
    models = [AutoencoderTransformer(2, loss=option, max_iter=100, random_state=0) for option in options]
    errors = []
    for model in (PCA(2), *models):
        X_hat = model.fit(X).inverse_transform(model.transform(X))
        errors.append(np.square(X_hat - clean).sum(axis=1).mean())
    names = ["PCA", "squared_error", "absolute_error", "Huber(delta=0.5)"]
    bars = right.barh(names, errors, color=[GREY, *options.values()])
    right.bar_label(bars, fmt="%.1f", padding=3)
    right.invert_yaxis()
    plain(right, xlabel="squared error to the clean samples", xlim=(0, 1.15 * max(errors)))
    right.set_title("12 features, 5 % of the values far too high", fontsize=10)
    return fig


def penalty():
    """Sparsity and robustness of the code against the weight of a penalty."""
    train, test, _ = digits()
    centre, noise = train.mean(axis=0), np.random.RandomState(0).normal(size=test.shape)

    def fitted(k, **params):
        """Fit an autoencoder for 40 epochs."""
        return AutoencoderTransformer(k, max_iter=40, random_state=0, **params).fit(train)

    def shift(model):
        """Return the change of the code under noise of one grey level, in its standard deviations."""
        codes = model.transform(test)
        change = (model.transform(test + noise) - codes) / codes.std(axis=0)
        return np.sqrt(np.square(change).sum(axis=1)).mean()

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
    sizes = (0.0, 0.02, 0.1, 0.5)
    sparse = [fitted(64, bottleneck="relu", penalty=L1(w)) for w in sizes]
    zeros = [(model.transform(test) == 0).mean() for model in sparse]
    errors = [unexplained(model, test, centre) for model in sparse]
    two_scales(left, sizes, zeros, "share of codes that are zero", errors)
    left.set_title('L1(weight), bottleneck="relu"', fontsize=10)
    sizes = (0.0, 0.1, 1.0, 10.0)
    contractive = [fitted(8, penalty=Contractive(w)) for w in sizes]
    errors = [unexplained(model, test, centre) for model in contractive]
    name = "change of the code under noise of one\ngrey level, in its standard deviations"
    two_scales(right, sizes, [shift(model) for model in contractive], name, errors)
    right.set_title("Contractive(weight)", fontsize=10)
    return fig


def two_scales(ax, sizes, values, name, errors):
    """Plot two measures against the weight of a penalty."""
    places = np.arange(len(sizes))
    ax.plot(places, values, color=BLUE, marker="o")
    ax.set_ylabel(name, color=BLUE)
    twin = ax.twinx()
    twin.plot(places, errors, color=RED, marker="s", linestyle="--")
    twin.set_ylabel("unexplained share of the variance", color=RED)
    ax.set_xticks(places, [f"{size:g}" for size in sizes])
    ax.set_xlabel("weight")
    for axis in (ax, twin):
        axis.set_ylim(0, None)
        axis.spines["top"].set_visible(False)


def weights():
    """Training and test error against the weight decay."""
    train, test, _ = digits()
    few, centre = train[:150], train.mean(axis=0)
    fig, ax = plt.subplots(figsize=(6, 3.1), layout="constrained")
    alphas = [0.0, 0.01, 0.1, 1.0, 10.0]
    fits = [
        AutoencoderTransformer(8, alpha=a, max_iter=300, early_stopping=False, random_state=0).fit(few)
        for a in alphas
    ]
    tied = AutoencoderTransformer(
        8, tied_weights=True, max_iter=300, early_stopping=False, random_state=0
    ).fit(few)
    places = np.arange(len(alphas))
    for X, name, colour, marker in ((test, "test set", BLUE, "o"), (few, "training set", GREY, "s")):
        ax.plot(places, [unexplained(ae, X, centre) for ae in fits], color=colour, marker=marker, label=name)
    ax.plot(
        1, unexplained(tied, test, centre), "*", color=GREEN, markersize=13, label="test set, tied weights"
    )
    level = unexplained(PCA(8).fit(few), test, centre)
    ax.axhline(level, color=RED, linestyle=":")
    ax.text(4.1, level, "PCA, test set", color=RED, ha="right", va="bottom", fontsize=9)
    ax.set_xticks(places, [f"{a:g}" for a in alphas])
    plain(ax, xlabel="alpha", ylabel="unexplained share of the variance", ylim=(0, 0.45))
    ax.set_title("150 training digits, 300 epochs without early stopping", fontsize=10)
    ax.legend(frameon=False, fontsize=9, ncols=2, loc="lower left")
    return fig
