import asyncio


async def main():
    await asyncio.sleep(0)
    process = await asyncio.create_subprocess_exec("echo", "from a child", stdout=asyncio.subprocess.PIPE)
    print((await process.communicate())[0])
    raise RuntimeError("in a coroutine")


asyncio.run(main())
