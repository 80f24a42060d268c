"""The papers' formulas written out literally: loops over neurons, float64, gradients by autograd. Slow on purpose.

Two things are fixed here that the papers leave open: rows of norm zero are left out, and directions closer than FLOOR
count as FLOOR apart. Angles come from atan2, since acos has no digits left where they matter.
"""

import torch
from torch import Tensor

FLOOR = 1e-6


def _neurons(weight: Tensor) -> list[Tensor]:
    return [w / w.square().sum().sqrt() for w in weight.double() if bool((w != 0).any())]


def _norm(x: Tensor) -> Tensor:
    squared = x.square().sum()
    return squared.sqrt() if bool(squared > 0) else squared


def _angle(u: Tensor, v: Tensor) -> Tensor:
    return 2 * torch.atan2(_norm(u - v), _norm(u + v))


def _zero(weight: Tensor) -> Tensor:
    return weight.double().sum() * 0


def mma(weight: Tensor) -> Tensor:
    """MMA paper, eq. 6."""
    w = _neurons(weight)
    n = len(w)
    if n < 2:
        return _zero(weight)
    total = _zero(weight)
    for i in range(n):
        with torch.no_grad():
            nearest = min((j for j in range(n) if j != i), key=lambda j: float(_norm(w[i] - w[j])))
        total = total + _angle(w[i], w[nearest])
    return -total / n


def max_cosine(weight: Tensor) -> Tensor:
    """MMA paper, eq. 5."""
    w = _neurons(weight)
    n = len(w)
    if n < 2:
        return _zero(weight)
    return (
        sum((max((w[i] @ w[j] for j in range(n) if j != i), key=lambda c: c.item()) for i in range(n)), _zero(weight))
        / n
    )


def _f(distance: Tensor, s: float) -> Tensor:
    """f_s of thesis eq. 5.1."""
    distance = distance if distance.detach() >= FLOOR else torch.full_like(distance, FLOOR)
    return -distance.log() if s == 0 else distance ** (-s)


def mhe(
    weight: Tensor, s: float, distance: str = "euclidean", half_space: bool = False, beta: Tensor | None = None
) -> Tensor:
    """Thesis eqs. 5.1, 5.5, D.10 and section 5.3.4: all ordered pairs of N (or 2N) vectors over their number."""
    w = _neurons(weight)
    if len(w) < 2:
        return _zero(weight)
    if beta is not None:
        kept = [b for b, row in zip(beta.double(), weight, strict=True) if bool((row != 0).any())]
        w = [b * u for b, u in zip(kept, w, strict=True)]
    if half_space:
        w = w + [-u for u in w]
    n = len(w)
    total = _zero(weight)
    for i in range(n):
        for j in range(n):
            if j != i:
                rho = _norm(w[i] - w[j]) if distance == "euclidean" else _angle(w[i], w[j])
                total = total + _f(rho, s)
    return total / (n * (n - 1))


def mhe_of_all_pairs(weight: Tensor, s: float, distance: str = "euclidean", half_space: bool = False) -> Tensor:
    """The same from an array of all pair differences, for layers that loops cannot manage."""
    u = weight.double() / weight.double().norm(dim=1, keepdim=True)
    u = torch.cat([u, -u]) if half_space else u
    n = len(u)
    i, j = torch.triu_indices(n, n, 1)
    rho = (u[i] - u[j]).square().sum(1).sqrt()
    if distance == "angular":
        together = (u[i] + u[j]).square().sum(1)
        rho = 2 * torch.atan2(rho, torch.where(together > 0, together, 1.0).sqrt() * (together > 0))
    return 2 * (-rho.log() if s == 0 else rho ** (-s)).sum() / (n * (n - 1))


def mhe_of_labels(weight: Tensor, labels: Tensor, s: float, distance: str = "euclidean") -> Tensor:
    """Thesis section 5.3.6: 1/(m(N-1)) sum_i sum_{j != y_i} f_s."""
    w = [u / _norm(u) for u in weight.double()]
    total = _zero(weight)
    for y in labels.tolist():
        for j in range(len(w)):
            if j != y:
                total = total + _f(_norm(w[y] - w[j]) if distance == "euclidean" else _angle(w[y], w[j]), s)
    return total / (len(labels) * (len(w) - 1))


def orthogonal(weight: Tensor) -> Tensor:
    """MMA paper, eq. 14 without lambda."""
    w = _neurons(weight)
    total = _zero(weight)
    for i in range(len(w)):
        for j in range(len(w)):
            if i != j:  # the diagonal of the normalised Gram matrix less the identity is zero
                total = total + (w[i] @ w[j]) ** 2
    return total / 2


def orthonormal(weight: Tensor) -> Tensor:
    """||W^T W - I||_F^2 with neurons as columns (thesis 4.5)."""
    w = list(weight.double())
    total = _zero(weight)
    for i in range(len(w)):
        for j in range(len(w)):
            total = total + (w[i] @ w[j] - (1.0 if i == j else 0.0)) ** 2
    return total


def orthogonal_diagonal(weight: Tensor) -> Tensor:
    """||W^T W - diag(W^T W)||_F^2 with neurons as columns (thesis 4.5)."""
    w = list(weight.double())
    total = _zero(weight)
    for i in range(len(w)):
        for j in range(len(w)):
            if i != j:
                total = total + (w[i] @ w[j]) ** 2
    return total


def srip(weight: Tensor, iterations: int = 2) -> Tensor:
    """Power iteration on the smaller residual Gram matrix, formed entry by entry (Bansal et al., 2018)."""
    w = weight.double()
    if w.shape[0] > w.shape[1]:
        w = w.T
    k = w.shape[0]
    residual = w @ w.T - torch.eye(k, dtype=torch.float64)
    v = torch.cos(torch.arange(1, k + 1, dtype=torch.float64) ** 2)
    v = v / v.norm()
    length = _zero(weight)
    for _ in range(iterations):
        product = residual @ v
        length = _norm(product)
        if not bool(length > 0):
            return _zero(weight)
        v = product / length
    return length


def sphere_conv2d(
    x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int, eps: float
) -> Tensor:
    """Thesis, eq. 3.3: the cosine between each filter and each patch, patch by patch; eps is added to ||x||^2."""
    x, weight = x.double(), weight.double()
    images, channels, height, width = x.shape
    filters, _, k_h, k_w = weight.shape
    padded = x.new_zeros(images, channels, height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = x
    rows = range(0, height + 2 * padding - dilation * (k_h - 1), stride)
    columns = range(0, width + 2 * padding - dilation * (k_w - 1), stride)
    cosines = []
    for n in range(images):
        for f in range(filters):
            group = f // (filters // groups)
            own = slice(group * channels // groups, (group + 1) * channels // groups)
            w = weight[f]
            for i in rows:
                for j in columns:
                    patch = padded[n, own, i : i + dilation * k_h : dilation, j : j + dilation * k_w : dilation]
                    length = (patch.square().sum() + eps).sqrt()
                    cosines.append((w * patch).sum() / (_norm(w) * length))
    return torch.stack(cosines).reshape(images, filters, len(rows), len(columns))


def pair_counts(weight: Tensor, threshold: float) -> dict[str, float]:
    """What `onsphere inspect` counts of the pairs of rows: angles in radians, a near-duplicate is within one degree."""
    w = _neurons(weight)
    angles = {(i, j): float(_angle(w[i], w[j])) for j in range(len(w)) for i in range(j)}
    near = [pair for pair, angle in angles.items() if angle < torch.pi / 180]
    return {
        "pairs": len(angles),
        "above": sum(float(w[i] @ w[j]) > threshold for i, j in angles),
        "near_duplicate_pairs": len(near),
        "near_duplicates": len({k for pair in near for k in pair}),
        "angle": min(angles.values(), default=float("nan")),
    }
