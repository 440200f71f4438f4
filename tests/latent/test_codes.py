"""Paths between codes, against scipy's slerp and great circles."""

import numpy as np
import pytest
from known_codes import CODES
from scipy.spatial import geometric_slerp

from sklearn_ae.latent import interpolate


def spherical(start, end, n_steps=9):
    return interpolate(CODES, start, end, n_steps, method="spherical")


class TestSpherical:
    @pytest.mark.parametrize("k", [2, 3, 20])
    def test_is_scipys_slerp_on_the_sphere(self, k):
        u, v = np.random.RandomState(0).normal(size=(2, 5, k))
        u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (u, v))
        expected = [geometric_slerp(a, b, np.linspace(0, 1, 9)) for a, b in zip(u, v, strict=True)]
        np.testing.assert_allclose(spherical(u, v), expected, atol=1e-12)

    def test_rotates_at_constant_speed_while_the_length_changes_linearly(self):
        start, end = np.random.RandomState(1).normal(size=(2, 6)) * [[1], [5]]
        path = spherical(start, end)
        lengths = np.linalg.norm(path, axis=1)
        np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 9))
        unit = path / lengths[:, np.newaxis]
        cosines = (unit[1:] * unit[:-1]).sum(axis=1)
        np.testing.assert_allclose(cosines, cosines[0])
        assert np.arccos(cosines).sum() == pytest.approx(np.arccos(unit[0] @ unit[-1]))
        assert np.linalg.matrix_rank(path, tol=1e-9) == 2  # Stays in the plane of its ends

    def test_stays_away_from_the_origin_in_many_dimensions(self):
        start, end = np.random.RandomState(2).normal(size=(2, 500))
        middle = spherical(start, end)[4]
        assert np.linalg.norm(middle) == pytest.approx(np.sqrt(500), rel=0.1)
        assert np.linalg.norm(interpolate(CODES, start, end, 9)[4]) < 0.8 * np.sqrt(500)

    @pytest.mark.parametrize("tilt", [0, 1e-300, 1e-16, 1e-12, 1e-9, 1e-6])
    def test_nearly_parallel_codes(self, tilt):
        start, end = np.array([1.0, 0, 0]), np.array([3.0, 3 * tilt, 0])
        t = np.linspace(0, 1, 9)
        path = spherical(start, end)
        np.testing.assert_allclose(path[:, 0], 1 + 2 * t, rtol=1e-11)
        np.testing.assert_allclose(path[:, 1], (1 + 2 * t) * t * tilt, rtol=1e-9, atol=1e-200)
        np.testing.assert_array_equal(path[:, 2], 0)

    def test_zero_code_takes_the_direction_of_the_other(self):
        zero, end = np.zeros(3), np.array([1.0, -2, 2])
        t = np.linspace(0, 1, 9)[:, np.newaxis]
        np.testing.assert_allclose(spherical(zero, end), t * end)
        np.testing.assert_allclose(spherical(end, zero), (1 - t) * end)
        np.testing.assert_array_equal(spherical(zero, zero), np.zeros((9, 3)))

    @pytest.mark.parametrize("tilt", [0, 1e-12])
    def test_opposite_codes_are_an_error_that_names_the_sample(self, tilt):
        start, end = np.array([[1.0, 1], [2, 0]]), np.array([[1.0, 0], [-1, tilt]])
        with pytest.raises(ValueError, match=r"opposite codes \(sample 1\).*method='linear'"):
            spherical(start, end)
        with pytest.raises(ValueError, match="opposite codes"):
            spherical(start.astype(np.float32), end.astype(np.float32))

    def test_nearly_opposite_codes_keep_length_and_plane(self):
        path = spherical([1.0, 0, 0], [-1.0, 1e-6, 0], 3)
        np.testing.assert_allclose(path, [[1, 0, 0], [5e-7, 1, 0], [-1, 1e-6, 0]], atol=1e-9)

    def test_path_of_one_component_with_one_sign_is_straight(self):
        np.testing.assert_allclose(spherical([[1.0]], [[3.0]], 3)[0], [[1], [2], [3]])
