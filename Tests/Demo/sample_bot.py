#!/usr/bin/env python3
"""A bot as people write them: reads prices from /data, writes a report to /reports, logs its progress."""
import csv
import os
import statistics
import sys

SOURCE = "/data/prices.csv"
TARGET = "/reports/report.txt"


def log(text):
    print(f"[bot] {text}", flush=True)


def main():
    log(f"starting as uid {os.getuid()}, pid {os.getpid()}, on {os.uname().nodename}")
    with open(SOURCE, newline="") as file:
        rows = list(csv.DictReader(file))
    log(f"read {len(rows)} rows from {SOURCE}")
    groups = {}
    for row in rows:
        groups.setdefault(row["symbol"], []).append(float(row["price"]))
    with open(TARGET, "w") as report:
        for symbol, prices in sorted(groups.items()):
            line = f"{symbol}: n={len(prices)} mean={statistics.mean(prices):.2f} stdev={statistics.pstdev(prices):.2f}"
            report.write(line + "\n")
            log(line)
    log(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
