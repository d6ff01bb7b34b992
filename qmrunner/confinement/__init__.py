"""What an engine may reach, held by the kernel: from its needs to a policy, and the calls that put it in force."""
