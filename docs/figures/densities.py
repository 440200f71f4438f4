"""Figures on variational autoencoders, outlier detection and displays."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from shared import BLUE, GREY, ORANGE, RED, curve, digits, plain, unexplained
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import LatentSpaceDisplay, OutlierScoreDisplay, ReconstructionDisplay
from sklearn_ae.likelihoods import Gaussian


def likelihood():
    """Samples of the three Gaussian likelihoods."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 1500)
    spread = 0.04 + 0.12 * (t + 2)
    X = np.column_stack(
        [t + 0.02 * rng.normal(size=t.size), np.sin(1.5 * t) + spread * rng.normal(size=t.size)]
    )
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.0), layout="constrained", sharey=True)
    for ax, noise, colour in zip(axes, ("shared", "per_column", "decoder"), (RED, ORANGE, BLUE), strict=True):
        vae = VAETransformer(
            1, likelihood=Gaussian(noise=noise), hidden_layer_sizes=(64, 32), max_iter=200, random_state=0
        ).fit(X)
        drawn = vae.sample(700, random_state=0)
        ax.scatter(*X[:700].T, s=5, color=GREY, linewidth=0, alpha=0.8, label="data")
        ax.scatter(*drawn.T, s=5, color=colour, linewidth=0, alpha=0.8, label="drawn")
        ax.set_title(f'Gaussian("{noise}")\n{vae.score(X):.2f} nats per sample', fontsize=10)
        plain(ax, xlabel="first feature", ylabel="second feature")
        ax.label_outer()
        ax.legend(frameon=False, fontsize=8, markerscale=2.5, loc="lower left", handletextpad=0)
    return fig


def divergence():
    """Codes for the three divergences."""
    train, test, labels = digits()
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained", sharex=True, sharey=True)
    for ax, name in zip(axes, ("kl", "beta_tc", "mmd"), strict=True):
        vae = VAETransformer(2, divergence=name, max_iter=80, random_state=0).fit(train)
        codes = vae.transform(test)
        points = ax.scatter(*codes.T, c=labels, cmap="tab10", s=9, linewidth=0, vmin=-0.5, vmax=9.5)
        kl, share = vae.kl_divergence(test).mean(), unexplained(vae, test, train.mean(axis=0))
        ax.set_title(f'divergence="{name}"\nKL {kl:.1f} nats, {share:.0%} unexplained', fontsize=10)
        angle = np.linspace(0, 2 * np.pi, 100)
        for radius in (1, 2):
            ax.plot(radius * np.cos(angle), radius * np.sin(angle), color="black", linewidth=0.7, alpha=0.6)
        ax.set(
            xlabel="first component", ylabel="second component", aspect="equal", xlim=(-4, 4), ylim=(-4, 4)
        )
        ax.label_outer()
    fig.colorbar(points, ax=axes, label="digit", ticks=range(10), shrink=0.85)
    return fig


def prior():
    """Densities of both priors in the latent plane."""
    train, test, labels = digits()
    vae = VAETransformer(2, prior="mixture", max_iter=80, random_state=0).fit(train)
    codes = vae.transform(test)
    grid = np.linspace(-3.5, 3.5, 160)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    mixture = vae.module_.prior.log_prob(torch.from_numpy(points)).numpy().reshape(160, 160)
    normal = (-0.5 * np.square(points).sum(axis=1) - np.log(2 * np.pi)).reshape(160, 160)
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained", sharey=True)
    for ax, density, name in ((axes[0], normal, "normal"), (axes[1], mixture, "mixture")):
        ax.contourf(grid, grid, np.exp(density), levels=12, cmap="Greys")
        shown = ax.scatter(*codes.T, c=labels, cmap="tab10", s=9, linewidth=0, vmin=-0.5, vmax=9.5)
        ax.set_title(f'prior="{name}"', fontsize=10)
        ax.set(xlabel="first component", ylabel="second component", aspect="equal")
        ax.label_outer()
    fig.colorbar(shown, ax=axes, label="digit", ticks=range(10), shrink=0.85)
    return fig


def score():
    """Region of inliers for each outlier score."""
    rng = np.random.RandomState(0)
    X = curve(500, 0.08)
    names = ("reconstruction", "log_likelihood", "mahalanobis", "neighbors", "contrast")
    side = np.linspace(-3.6, 3.6, 70)
    points = np.stack(np.meshgrid(side, side * 0.7), axis=-1).reshape(-1, 2)
    fig, axes = plt.subplots(1, 5, figsize=(12, 2.8), layout="constrained", sharey=True)
    ae = AutoencoderTransformer(1, hidden_layer_sizes=(64, 32), max_iter=300, batch_size=64)
    for ax, name in zip(axes, names, strict=True):
        detector = AEOutlierDetector(
            ae, outlier_score=name, robust=False, contamination=0.05, random_state=rng
        )
        detector.fit(X)
        decision = detector.decision_function(points).reshape(70, 70)
        ax.contourf(side, side * 0.7, decision >= 0, levels=(0.5, 1.5), colors=["#cfe3f1"])
        ax.contour(side, side * 0.7, decision, levels=[0], colors=[BLUE], linewidths=1.2)
        ax.scatter(*X.T, s=4, color="black", linewidth=0, alpha=0.6)
        ax.set_title(f'"{name}"', fontsize=10)
        ax.set(xlabel="first feature", ylabel="second feature")
        ax.label_outer()
    fig.suptitle(
        "Region of inliers of five outlier scores (blue) after fitting to 500 clean samples (black)",
        fontsize=11,
    )
    return fig


def outliers():
    """Outlier scores of tumours."""
    data = load_breast_cancer()
    benign = data.data[data.target == 1]
    detector = make_pipeline(StandardScaler(), AEOutlierDetector(robust=False, random_state=0))
    detector.fit(benign[:250])
    X = np.vstack([benign[250:], data.data[data.target == 0][:60]])
    y = np.array(["benign", "malignant"])[np.repeat([0, 1], [len(benign) - 250, 60])]
    display = OutlierScoreDisplay.from_estimator(detector, X, y, feature_names=data.feature_names)
    return display.figure_


def reconstruction():
    """Reconstructions by PCA and an autoencoder."""
    train, test, _ = digits()
    models = {
        "PCA": PCA(4).fit(train),
        "Autoencoder": AutoencoderTransformer(4, max_iter=40, random_state=0).fit(train),
    }
    return ReconstructionDisplay.from_estimator(models, test, image_shape=(8, 8), max_samples=10).figure_


def latent_space():
    """Pairs of components of an autoencoder."""
    train, test, labels = digits()
    model = AutoencoderTransformer(4, max_iter=40, random_state=0).fit(train)
    return LatentSpaceDisplay.from_estimator(model, test, labels, components=(0, 1), y_name="Digit").figure_
