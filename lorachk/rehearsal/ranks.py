"""torchrun that dies with lorachk: `python -m lorachk.rehearsal.ranks <torchrun arguments>`."""

from __future__ import annotations

from lorachk.children import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    from torch.distributed.run import main

    main()
