/* Sockets: see programs.c. */
#include "programs.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

static void send_descriptor(int socket, const char *text, size_t length, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec vector = { (void *)text, length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	CHECK(sendmsg(socket, &message, 0) == (ssize_t)length);
}

/* What came; -1 in *fd if no descriptor came with it. */
static ssize_t receive_descriptor(int socket, char *text, size_t length, int *fd)
{
	char control[CMSG_SPACE(sizeof *fd)];
	struct iovec vector = { text, length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	*fd = -1;
	if (got >= 0 && header)
		memcpy(fd, CMSG_DATA(header), sizeof *fd);
	return got;
}

static struct sockaddr_un named(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, name, strlen(name));
	return address;
}

void unix_streams(void)
{
	int one[2], other[2], half[2], widow[2], ends[2], fd, big[2], carry[2];
	char text[64], *much = malloc(150000);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, one) && !pipe(ends));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, other) && !socketpair(AF_UNIX, SOCK_STREAM, 0, half));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, widow) && !socketpair(AF_UNIX, SOCK_STREAM, 0, big));
	/* A descriptor between bytes, and one whose last holder is the queue. */
	CHECK(write(one[0], "plain", 5) == 5);
	send_descriptor(one[0], "with", 4, ends[1]);
	CHECK(write(one[0], "after", 5) == 5 && write(one[1], "back", 4) == 4);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, carry));
	send_descriptor(carry[0], "x", 1, other[0]);
	close(other[0]);
	CHECK(write(half[0], "last words", 10) == 10 && !shutdown(half[0], SHUT_WR));
	CHECK(write(widow[0], "inheritance", 11) == 11 && !close(widow[0]));
	for (int at = 0; at < 150000; at++)
		much[at] = (char)(at * 7 / 3);
	int size = 400000;
	CHECK(!setsockopt(big[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
	CHECK(write(big[0], much, 150000) == 150000);
	struct timeval timeout = { 0, 30000 };
	CHECK(!setsockopt(one[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = 77 };
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, half[1], &event));
	stage();
	CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && event.data.u64 == 77);
	CHECK(receive_descriptor(one[1], text, 5, &fd) == 5 && fd == -1 && !memcmp(text, "plain", 5));
	CHECK(receive_descriptor(one[1], text, 4, &fd) == 4 && fd >= 0 && !memcmp(text, "with", 4));
	CHECK(write(fd, "p", 1) == 1 && read(ends[0], text, 1) == 1 && *text == 'p');
	CHECK(read(one[1], text, 64) == 5 && !memcmp(text, "after", 5));
	CHECK(read(one[1], text, 64) < 0 && errno == EAGAIN);
	CHECK(read(one[0], text, 64) == 4 && !memcmp(text, "back", 4));
	CHECK(fcntl(one[0], F_SETFL, 0) == 0 && read(one[0], text, 64) < 0 && errno == EAGAIN);
	CHECK(write(other[1], "y", 1) == 1 && receive_descriptor(carry[1], text, 1, &fd) == 1);
	CHECK(fd >= 0 && read(fd, text, 1) == 1 && *text == 'y');
	CHECK(read(half[1], text, 64) == 10 && !memcmp(text, "last words", 10));
	CHECK(read(half[1], text, 64) == 0 && write(half[1], "z", 1) == 1);
	CHECK(read(half[0], text, 64) == 1 && write(half[0], "z", 1) < 0 && errno == EPIPE);
	CHECK(read(widow[1], text, 64) == 11 && read(widow[1], text, 64) == 0);
	for (int at = 0; at < 150000; at += (int)size) {
		char block[1000];
		CHECK((size = (int)read(big[1], block, 1000)) > 0 && !memcmp(block, much + at, (size_t)size));
	}
	socklen_t length = sizeof size;
	CHECK(!getsockopt(big[0], SOL_SOCKET, SO_SNDBUF, &size, &length));
	signal(SIGPIPE, SIG_DFL);
}

void unix_messages(void)
{
	int pair[2], packets[2], fd;
	char text[64];
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) && !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
	CHECK(send(pair[0], "one", 3, 0) == 3 && send(pair[0], "two!", 4, 0) == 4);
	CHECK(send(packets[1], "first", 5, 0) == 5);
	send_descriptor(packets[1], "second", 6, pair[0]);
	/* Datagrams to a name, from a name, from an abstract name, and from
	 * somebody who is gone. */
	struct sockaddr_un server = named("/data/server"), client = named("/data/client"), got;
	struct sockaddr_un hidden = { .sun_family = AF_UNIX, .sun_path = "\0hidden" };
	socklen_t hidden_length = sizeof(sa_family_t) + 7, length = sizeof got;
	int to = socket(AF_UNIX, SOCK_DGRAM, 0), from = socket(AF_UNIX, SOCK_DGRAM, 0);
	int away = socket(AF_UNIX, SOCK_DGRAM, 0), quiet = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(!bind(to, (void *)&server, sizeof server) && !bind(from, (void *)&client, sizeof client));
	CHECK(!bind(quiet, (void *)&hidden, hidden_length));
	CHECK(sendto(from, "named", 5, 0, (void *)&server, sizeof server) == 5);
	CHECK(sendto(quiet, "hidden", 6, 0, (void *)&server, sizeof server) == 6);
	CHECK(sendto(away, "gone", 4, 0, (void *)&server, sizeof server) == 4 && !close(away));
	CHECK(!connect(from, (void *)&server, sizeof server));
	CHECK(!chmod("/data/server", 0640));
	stage();
	CHECK(recv(pair[1], text, 64, 0) == 3 && recv(pair[1], text, 64, 0) == 4 && !memcmp(text, "two!", 4));
	CHECK(recv(packets[0], text, 64, 0) == 5 && !memcmp(text, "first", 5));
	CHECK(receive_descriptor(packets[0], text, 64, &fd) == 6 && fd >= 0);
	CHECK(send(fd, "three", 5, 0) == 5 && recv(pair[1], text, 64, 0) == 5);
	CHECK(recvfrom(to, text, 64, 0, (void *)&got, &length) == 5 && !strcmp(got.sun_path, "/data/client"));
	length = sizeof got;
	CHECK(recvfrom(to, text, 64, 0, (void *)&got, &length) == 6 && length == hidden_length);
	CHECK(!memcmp(got.sun_path, "\0hidden", 7));
	length = sizeof got;
	CHECK(recvfrom(to, text, 64, 0, (void *)&got, &length) == 4 && length <= sizeof(sa_family_t));
	CHECK(send(from, "again", 5, 0) == 5 && recv(to, text, 64, 0) == 5);
	struct stat stat_of;
	CHECK(!stat("/data/server", &stat_of) && (stat_of.st_mode & 07777) == 0640);
}

void unix_names(void)
{
	char text[64];
	struct sockaddr_un path = named("/data/socket"), relative = named("near"), got;
	struct sockaddr_un hidden = { .sun_family = AF_UNIX, .sun_path = "\0listener" };
	socklen_t hidden_length = sizeof(sa_family_t) + 9, length = sizeof got;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	int hidden_listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), waiting = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	int near = socket(AF_UNIX, SOCK_STREAM, 0), far = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!bind(listener, (void *)&path, sizeof path) && !listen(listener, 5));
	CHECK(!connect(client, (void *)&path, sizeof path));
	int served = accept(listener, NULL, NULL);
	CHECK(served >= 0 && write(client, "question", 8) == 8 && write(served, "answer", 6) == 6);
	CHECK(!bind(hidden_listener, (void *)&hidden, hidden_length) && !listen(hidden_listener, 3));
	CHECK(!connect(waiting, (void *)&hidden, hidden_length));
	/* One that is gone from its directory, and from those who listen. */
	CHECK(!chdir("/data") && !bind(near, (void *)&relative, sizeof relative) && !listen(near, 1));
	CHECK(!connect(far, (void *)&relative, sizeof relative));
	int near_served = accept(near, NULL, NULL);
	CHECK(near_served >= 0 && !unlink("/data/near") && !close(near));
	stage();
	CHECK(read(served, text, 64) == 8 && read(client, text, 64) == 6 && !memcmp(text, "answer", 6));
	CHECK(!getpeername(client, (void *)&got, &length) && !strcmp(got.sun_path, "/data/socket"));
	int later = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!connect(later, (void *)&path, sizeof path) && write(later, "!", 1) == 1);
	int accepted = accept(listener, NULL, NULL);
	struct ucred who;
	length = sizeof who;
	CHECK(read(accepted, text, 64) == 1 && !getsockopt(later, SOL_SOCKET, SO_PEERCRED, &who, &length));
	CHECK(who.pid == getpid() && who.uid == getuid());
	int hidden_accepted = accept(hidden_listener, NULL, NULL);
	CHECK(send(waiting, "in line", 7, 0) == 7 && recv(hidden_accepted, text, 64, 0) == 7);
	CHECK(write(far, "f", 1) == 1 && read(near_served, text, 64) == 1 && access("/data/near", F_OK));
	length = sizeof got;
	CHECK(!getsockname(near_served, (void *)&got, &length) && !strcmp(got.sun_path, "near"));
}

static int tcp(int domain, uint16_t port, int option, int level)
{
	int on = 1, fd = socket(domain, SOCK_STREAM, 0);
	struct sockaddr_in v4 = { AF_INET, htons(port), { htonl(INADDR_ANY) }, { 0 } };
	struct sockaddr_in6 v6 = { AF_INET6, htons(port), 0, in6addr_any, 0 };
	CHECK(fd >= 0 && !setsockopt(fd, level, option, &on, sizeof on));
	CHECK(!bind(fd, domain == AF_INET ? (void *)&v4 : (void *)&v6, domain == AF_INET ? sizeof v4 : sizeof v6));
	CHECK(!listen(fd, 9));
	return fd;
}

static int dial(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = { AF_INET, htons(port), { htonl(INADDR_LOOPBACK) }, { 0 } };
	CHECK(!connect(fd, (void *)&address, sizeof address));
	return fd;
}

static int answers(int route)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} ask = { { sizeof ask, RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };
	char reply[8192];
	struct nlmsghdr *header = (void *)reply;
	return send(route, &ask, sizeof ask, 0) == sizeof ask && recv(route, reply, sizeof reply, 0) > 0 &&
	       header->nlmsg_type == RTM_NEWLINK && header->nlmsg_seq == 7;
}

void network(void)
{
	char text[64];
	int on = 1, four = tcp(AF_INET, 8080, SO_REUSEADDR, SOL_SOCKET);
	int six = tcp(AF_INET6, 8080, IPV6_V6ONLY, IPPROTO_IPV6);
	int twin = tcp(AF_INET, 9090, SO_REUSEPORT, SOL_SOCKET), other = tcp(AF_INET, 9090, SO_REUSEPORT, SOL_SOCKET);
	CHECK(!setsockopt(four, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	int idle = 42, route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	CHECK(!setsockopt(four, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle));
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK }, got;
	CHECK(!bind(route, (void *)&own, sizeof own) && answers(route));
	socklen_t length = sizeof own;
	CHECK(!getsockname(route, (void *)&own, &length));
	struct sockaddr_in address = { AF_INET, htons(5353), { htonl(INADDR_LOOPBACK) }, { 0 } };
	int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CHECK(!bind(server, (void *)&address, sizeof address) && !connect(client, (void *)&address, sizeof address));
	int fresh = socket(AF_INET6, SOCK_STREAM, 0);
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = four };
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, four, &event));
	stage();
	int caller = dial(8080);
	CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && event.data.fd == four);
	int accepted = accept(four, NULL, NULL), value = 0;
	length = sizeof value;
	CHECK(!getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &value, &length) && value);
	CHECK(!getsockopt(accepted, IPPROTO_TCP, TCP_KEEPIDLE, &value, &length) && value == 42);
	CHECK(write(caller, "tcp", 3) == 3 && read(accepted, text, 64) == 3);
	struct tcp_info info;
	length = sizeof info;
	CHECK(!getsockopt(six, IPPROTO_TCP, TCP_INFO, &info, &length) && info.tcpi_state == TCP_LISTEN);
	CHECK(info.tcpi_sacked == 9 && twin != other);
	length = sizeof value;
	CHECK(!getsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length) && value);
	CHECK(!close(other) && dial(9090) >= 0 && accept(twin, NULL, NULL) >= 0);
	CHECK(send(client, "udp", 3, 0) == 3 && recv(server, text, 64, 0) == 3);
	CHECK(recv(client, text, 64, 0) < 0 && errno == EAGAIN);
	length = sizeof got;
	CHECK(!getsockname(route, (void *)&got, &length) && got.nl_pid == own.nl_pid);
	CHECK(got.nl_groups == RTMGRP_LINK && answers(route));
	struct sockaddr_in6 six_address = { AF_INET6, htons(8080), 0, in6addr_loopback, 0 };
	CHECK(!connect(fresh, (void *)&six_address, sizeof six_address));
}

/* A connection with itself, with data on its way in both directions. */
void connected(void)
{
	char text[16], *much = malloc(200000), *got = malloc(200000);
	int listener = tcp(AF_INET, 8080, SO_REUSEADDR, SOL_SOCKET), client = dial(8080), on = 1;
	int served = accept(listener, NULL, NULL), done = dial(8080), quiet = accept(listener, NULL, NULL);
	for (int at = 0; at < 200000; at++)
		much[at] = (char)(at * 5 / 3);
	CHECK(!setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	CHECK(write(client, much, 200000) == 200000 && write(served, "unread", 6) == 6);
	struct sockaddr_in before, after;
	socklen_t length = sizeof before;
	CHECK(!getsockname(client, (void *)&before, &length));
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = served };
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, served, &event));
	stage();
	CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && event.data.fd == served);
	for (int at = 0, more; at < 200000; at += more) {
		CHECK((more = (int)read(served, got + at, 200000 - (size_t)at)) > 0);
	}
	CHECK(!memcmp(much, got, 200000) && read(client, text, 16) == 6 && !memcmp(text, "unread", 6));
	length = sizeof after;
	CHECK(!getsockname(client, (void *)&after, &length) && after.sin_port == before.sin_port);
	for (int round = 0; round < 100; round++) {
		CHECK(write(client, much, 10000) == 10000 && write(served, "pong", 4) == 4);
		for (int at = 0, more; at < 10000; at += more)
			CHECK((more = (int)read(served, got, 10000 - (size_t)at)) > 0);
		CHECK(read(client, text, 4) == 4 && !memcmp(text, "pong", 4));
	}
	length = sizeof on;
	CHECK(!getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, &length) && on);
	CHECK(!close(client) && read(served, text, 16) == 0 && write(done, "late", 4) == 4);
	CHECK(read(quiet, text, 16) == 4 && dial(8080) >= 0);
}

/* One that a restore resets: both ends hear of it, and nobody else. */
void disconnected(void)
{
	char text[8];
	int listener = tcp(AF_INET, 8080, SO_REUSEADDR, SOL_SOCKET), client = dial(8080);
	int served = accept(listener, NULL, NULL);
	stage();
	CHECK(read(client, text, 8) < 0 && errno == ECONNRESET);
	CHECK(read(served, text, 8) < 0 && errno == ECONNRESET);
	client = dial(8080);
	served = accept(listener, NULL, NULL);
	CHECK(write(client, "hello", 5) == 5 && read(served, text, 5) == 5);
}
