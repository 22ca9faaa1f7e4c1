from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
print(sorted(pool.map(abs, [-3, -1, -2])))
