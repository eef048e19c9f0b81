"""Any program with so many workers: started, watched from outside until it ends, and ended with all that it started.

command.py   what is to be run, with how many workers, and how the program is told
run.py       one run: its time, its answer, what the system charged it for
watching.py  the threads of its processes while they live: CPU, waits for a CPU
families.py  the processes that it started, whoever their parent is by now; their end
"""
