/* Tries what a sandbox must refuse, and prints for each "NAME ERRNO", "NAME 0" (it worked) or
 * "NAME signal N" (the kernel ended it). Each try has a process of its own, so one that is killed
 * or that succeeds does not disturb the next. Tries are chosen so that they succeed, or fail with
 * another number, for an ordinary program outside: a refusal is the sandbox's doing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long try_unshare_user(void) { return unshare(CLONE_NEWUSER); }
static long try_unshare_mount(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS); }
static long try_clone_user(void) {
	long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (child == 0) _exit(0);
	return child < 0 ? -1 : 0;
}
static long try_clone3_user(void) {
	struct { unsigned long long flags, rest[10]; } arguments = {CLONE_NEWUSER, {0}};
	long child = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (child == 0) _exit(0);
	return child < 0 ? -1 : 0;
}
static long try_setns(void) { return setns(open("/proc/self/ns/user", O_RDONLY), 0); }
static long try_mount(void) { return mount("none", "/tmp", "tmpfs", 0, ""); }
static long try_umount(void) { return umount2("/tmp", MNT_DETACH); }
static long try_fsopen(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static long try_open_tree(void) { return syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 /* OPEN_TREE_CLONE */); }
static long try_pivot_root(void) { return syscall(SYS_pivot_root, "/tmp", "/tmp"); }
static long try_chroot(void) { return chroot("/"); }
static long try_ptrace(void) { return ptrace(PTRACE_TRACEME, 0, 0, 0); }
static long try_process_vm(void) { return syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0); }
static long try_bpf(void) {
	union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}
static long try_keyctl(void) { return syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 1); }
static long try_add_key(void) { return syscall(SYS_add_key, "user", "codex32-probe", "x", 1, -1); }
static long try_io_uring(void) {
	char parameters[120] = {0};
	return syscall(SYS_io_uring_setup, 4, parameters);
}
static long try_userfaultfd(void) { return syscall(SYS_userfaultfd, 1 /* USER_MODE_ONLY */); }
static long try_perf(void) {
	struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .exclude_kernel = 1, .exclude_hv = 1};
	return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}
static long try_packet(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long try_vsock(void) { return socket(40 /* AF_VSOCK */, SOCK_STREAM, 0); }
static long try_alg(void) { return socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }
static long try_netlink_netfilter(void) { return socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }
static long try_netlink_uevent(void) { return socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT); }
static long try_netlink_audit(void) { return socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT); }
static long try_open_by_handle(void) { return syscall(SYS_open_by_handle_at, AT_FDCWD, "", 0); }
static long try_sethostname(void) { return sethostname("x", 1); }
static long try_reboot(void) { return syscall(SYS_reboot, 0, 0, 0, 0); } /* the magic is wrong: harmless */
static long try_kexec(void) { return syscall(SYS_kexec_load, 0, -1L, 0, -1L); } /* no such flags: harmless */
static long try_init_module(void) { return syscall(SYS_init_module, 0, 0, ""); } /* an empty module: harmless */
static long try_swapon(void) { return syscall(SYS_swapon, "/no/such/file", 0); }
static long try_settime(void) { return syscall(SYS_clock_settime, 0, 0); } /* a null time: harmless */
#ifdef __x86_64__
/* The same call by another door: a filter that forgets an architecture has a hole. */
static long try_unshare_i386(void) {
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(310L), "b"((long)CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) errno = (int)-result;
	return result;
}
static long try_unshare_x32(void) { return syscall(0x40000000L | SYS_unshare, CLONE_NEWUSER); }
#endif

/* The caller's terminal, when standard input is one: pushing input into it is CVE-2017-5226. */
static long try_tiocsti(void) { return ioctl(0, TIOCSTI, "x"); }
/* The upper half of the argument is ignored by the kernel, and was not by some filters (CVE-2019-7303). */
static long try_tiocsti_wide(void) { return syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x"); }
static long try_tioclinux(void) { return ioctl(0, TIOCLINUX, "\3"); }
static long try_dev_tty(void) { return open("/dev/tty", O_RDWR); }

static const struct { const char *name; long (*run)(void); } tries[] = {
#define TRY(name) {#name, try_##name}
	TRY(unshare_user), TRY(unshare_mount), TRY(clone_user), TRY(clone3_user), TRY(setns), TRY(mount), TRY(umount),
	TRY(fsopen), TRY(open_tree), TRY(pivot_root), TRY(chroot), TRY(ptrace), TRY(process_vm), TRY(bpf), TRY(keyctl),
	TRY(add_key), TRY(io_uring), TRY(userfaultfd), TRY(perf), TRY(packet), TRY(vsock), TRY(alg), TRY(netlink_netfilter),
	TRY(netlink_uevent), TRY(netlink_audit), TRY(open_by_handle), TRY(sethostname), TRY(reboot), TRY(kexec),
	TRY(init_module), TRY(swapon), TRY(settime), TRY(tiocsti), TRY(tiocsti_wide), TRY(tioclinux), TRY(dev_tty),
#ifdef __x86_64__
	TRY(unshare_i386), TRY(unshare_x32),
#endif
};

int main(int count, char **names) {
	for (unsigned index = 0; index < sizeof tries / sizeof *tries; index++) {
		int wanted = count < 2;
		for (int name = 1; name < count; name++) wanted |= strcmp(names[name], tries[index].name) == 0;
		if (!wanted) continue;
		int ends[2], number = -1, status;
		if (pipe(ends) != 0) return 2;
		pid_t child = fork();
		if (child < 0) return 2;
		if (child == 0) {
			errno = 0;
			number = tries[index].run() < 0 ? errno : 0;
			_exit(write(ends[1], &number, sizeof number) != sizeof number);
		}
		close(ends[1]);
		int told = read(ends[0], &number, sizeof number) == sizeof number;
		close(ends[0]);
		waitpid(child, &status, 0);
		if (told) printf("%s %d\n", tries[index].name, number);
		else printf("%s signal %d\n", tries[index].name, WTERMSIG(status));
		fflush(stdout);
	}
	return 0;
}
