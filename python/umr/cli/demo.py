"""`umr demo`."""
from umr.cli.output import Result
from umr.cli.options import command as make_command
from umr.progress import Reporter
NAME = "demo"
def demo(reporter: Reporter) -> Result:
    """Demo."""
    return Result({}, [])
command = make_command(demo)
