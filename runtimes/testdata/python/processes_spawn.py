import multiprocessing


class Box:
    def __init__(self, n):
        self.n = n


def double(box):
    return 2 * box.n



if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [Box(1), Box(2)]))
