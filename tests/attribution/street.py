"""Two shops on this machine that trade a little, for reports to have something to say."""

import json
import pathlib
import socket
import subprocess
import time

# How often a thing that is bound to happen is looked for, and for how long.
LOOKS = 300
LOOK_SECONDS = 0.2
# What a spreadsheet program would take for a formula.
FORMULA = "=1+1 面馆请你吃水果"


def soon(what, look):
    for _ in range(LOOKS):
        found = look()
        if found:
            return found
        time.sleep(LOOK_SECONDS)
    raise SystemExit(f"in vain: {what}")


class Shop:
    """A node, and its command."""

    def __init__(self, hutong, folder, name, shown):
        self.hutong, self.data, self.log = hutong, folder / name, folder / f"{name}.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            peer = f"127.0.0.1:{free.getsockname()[1]}"
        self.ask("init", "--name", shown, "--category", name, "--peer-listen", peer, "--merchant-listen", "127.0.0.1:0")
        with open(self.log, "wb") as log:
            command = [hutong, "--data", self.data, "serve"]
            self.node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        soon(f"{name} answers", lambda: self.try_to("status"))

    def run(self, *arguments, lang="en"):
        command = [self.hutong, "--data", self.data, "--lang", lang, "--json", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def ask(self, *arguments, lang="en"):
        done = self.run(*arguments, lang=lang)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def try_to(self, *arguments):
        done = self.run(*arguments)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def stop(self):
        self.node.terminate()
        self.node.wait()


def trade(hutong, folder):
    """Noodles hands out what fruit redeems and pays for. Gives fruit, and how far the alliance's clock is ahead of UTC."""
    folder = pathlib.Path(folder)
    noodles = Shop(hutong, folder, "noodles", "张记面馆")
    try:
        fruit = Shop(hutong, folder, "fruit", "甜甜\"水果\", 铺")
    except BaseException:
        noodles.stop()
        raise
    try:
        return [noodles, fruit], fruit, meet_and_trade(noodles, fruit)
    except BaseException:
        noodles.stop()
        fruit.stop()
        raise


def meet_and_trade(noodles, fruit):
    noodles.ask("alliance", "create", "--name", "槐树街")
    link = noodles.ask("alliance", "invite", "--note", "水果店")["link"]
    fruit.ask("alliance", "join", link)
    for shop in (noodles, fruit):
        soon("both know each other", lambda: sum(m["name"] != "" for m in shop.ask("alliance", "members")) == 2)
    fruit.ask("promotion", "create", "--title", FORMULA, "--distributor", "张记面馆=100",
              "--redeemer", fruit.ask("status")["shop_id"], "--earn-spend-min", "20.00", "--amount-off", "3.00",
              "--bounty", "1.25", "--budget", "425.00", "--runs-for", "30d")
    soon("the promotion arrives", lambda: noodles.ask("promotion", "list"))
    for number, spent in enumerate(("15.00", "27.35", "1000.01")):
        card = f"{number + 1:032x}"
        code = noodles.ask("sale", "report", "--amount", "28.00", "--card", card)["vouchers"][0]["code"]
        soon("the voucher arrives", lambda: fruit.try_to("voucher", "show", code))
        fruit.ask("voucher", "redeem", code, "--purchase", spent, "--card", card)
        fruit.ask("sale", "report", "--amount", "8.88", "--card", card)
    return fruit.ask("alliance", "list")[0]["utc_offset_minutes"]
