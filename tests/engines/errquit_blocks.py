"""What NWChem prints when it aborts, made from a message: see `engines/nwchem/output/errquit.py` for the shape."""

from __future__ import annotations

RULE = " " + "-" * 72
# Category in NWChem's source: its sentence. Those of memory, and the one of the fast multipole method, have none.
SENTENCES = {
    "UNKNOWN_ERR": " This error has not yet been assigned to a category",
    "UERR": " This error has not yet been assigned to a category",
    "RTDB_ERR": " An error occured in the Runtime Database",
    "BASIS_ERR": " There is an error in the specified basis set",
    "GEOM_ERR": " There is an error related to the specified geometry",
    "INPUT_ERR": " There is an error in the input file",
    "CAPMIS_ERR": " A feature requested has not yet been implemented\n",
    "INT_ERR": " An error occured while computing integrals",
    "DISK_ERR": " An error occured while trying to read or write to disk space",
    "CALC_ERR": (" This type of error is most commonly associated with calculations not reaching convergence criteria"),
}
OPEN_MPI_4 = """\
[0] ARMCI Error: 0:{message}:
--------------------------------------------------------------------------
MPI_ABORT was invoked on rank 0 in communicator MPI COMMUNICATOR 3 DUP FROM 0
with errorcode -1.

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
You may or may not see output from other processes, depending on
exactly when Open MPI kills them.
--------------------------------------------------------------------------
"""
OPEN_MPI_5 = """\
[0] ARMCI Warning: MPI Datatypes are broken in RMA in many versions of Open-MPI!
[0] ARMCI Error: 0:{message}:
--------------------------------------------------------------------------
MPI_ABORT was invoked on rank 0 in communicator MPI COMM 3 DUP FROM 0
  Proc: [[30191,1],0]
  Errorcode: -1

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
--------------------------------------------------------------------------
prterun has exited due to process rank 0 with PID 0 on node HOST calling
"abort". This may have caused other processes in the application to be
terminated by signals sent by prterun (as reported here).
--------------------------------------------------------------------------
"""
HYDRA = """\
[0] Received an Error in Communication: (-1) {message}
Abort(-1) on node 0 (rank 0 in comm 496): application called MPI_Abort(comm=0x84000001, -1) - process 0

===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 4711 RUNNING AT HOST
=   EXIT CODE: 255
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
===================================================================================
"""


def block(
    message: str,
    category: str | None,
    value: int = 0,
    line: tuple[int, str] = (18, "task dft energy"),
    wrapper: str = OPEN_MPI_4,
) -> str:
    """The end of a log: the block of `errquit` and the launcher's messages after it."""
    sentence = SENTENCES.get(category or "")
    return "\n".join(
        [
            "          Start of the work",
            RULE,
            f" {message}{value:20d}",
            RULE,
            RULE,
            "  current input line : ",
            f" {line[0]:5d}: {line[1]}",
            RULE,
            RULE,
            *([sentence] if sentence else []),
            RULE,
            " For more information see the NWChem manual at https://github.com/nwchemgit/nwchem/wiki",
            "",
            "",
            " For further details see manual section: " + " " * 200,
            wrapper.format(message=message),
        ]
    )
