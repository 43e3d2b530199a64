// Where the kernel is asked about network devices (rtnetlink(7)); Swift writes and reads the messages.
#define _GNU_SOURCE
#include "codex_child.h"
#include "codex_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

// RouteMessage and RouteSocket write these as numbers.
_Static_assert(sizeof(struct nlmsghdr) == 16 && sizeof(struct ifinfomsg) == 16 && sizeof(struct ifaddrmsg) == 8, "");
_Static_assert(RTM_NEWLINK == 16 && RTM_GETLINK == 18 && RTM_SETLINK == 19, "");
_Static_assert(RTM_NEWADDR == 20 && RTM_GETADDR == 22, "");
_Static_assert(IFLA_IFNAME == 3 && IFLA_NET_NS_FD == 28 && IFLA_NEW_IFINDEX == 49, "");
_Static_assert(IFA_ADDRESS == 1 && IFA_LOCAL == 2 && IFA_BROADCAST == 4 && IFA_FLAGS == 8, "");
_Static_assert(IFA_RT_PRIORITY == 9 && IFA_F_PERMANENT == 0x80 && IFA_F_TENTATIVE == 0x40, "");
_Static_assert(IFF_UP == 1 && IFF_LOOPBACK == 8, "");

int codex_route_open(void) {
    int number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (number < 0) return -errno;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    // Without it a dump takes no notice of what it was asked for (Linux 4.20).
    int on = 1;
    if (bind(number, (struct sockaddr *)&address, sizeof address) < 0 ||
        setsockopt(number, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on) < 0) {
        int error = errno;
        close(number);
        return -error;
    }
    return number;
}

// Handed over, and not looked for by number: procfs shows it to nobody but root while this process is not dumpable.
int codex_step_lend_network(struct codex_child_state *state) {
    struct codex_message message = {.kind = CODEX_MESSAGE_NETWORK, .step = state->index, .descriptor = -1};
    int space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (space < 0) return -errno;
    int result = codex_control_send(state->control, &message, space);
    close(space);
    return result < 0 ? result : codex_control_wait(state->control);
}
