/* Terminals that a program makes for others, as ssh, tmux and script do. */
#include "programs.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static int open_master(int *slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master));
	if (slave) {
		*slave = open(ptsname(master), O_RDWR | O_NOCTTY);
		CHECK(*slave >= 0);
	}
	return master;
}

static int says(int fd, const char *text)
{
	char buffer[256];
	size_t length = 0;
	while (length < sizeof buffer - 1) {
		struct pollfd ready = { fd, POLLIN, 0 };
		if (poll(&ready, 1, 10000) != 1)
			return 0;
		ssize_t count = read(fd, buffer + length, sizeof buffer - 1 - length);
		if (count <= 0)
			return 0;
		length += count;
		buffer[length] = 0;
		if (strstr(buffer, text))
			return 1;
	}
	return 0;
}

static void interrupted(int signal)
{
	(void)signal;
	_exit(7);
}

/* A session with a shell's habits: two groups, one of them in the foreground. */
static void session(int slave, int report)
{
	CHECK(setsid() == getpid() && !ioctl(slave, TIOCSCTTY, 0));
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	CHECK(tty >= 0);
	pid_t reader = fork(), loner;
	if (!reader) {
		char line[64];
		signal(SIGINT, interrupted);
		/* Who reads from the background is stopped. */
		while (getpgrp() != getpid() || tcgetpgrp(tty) != getpid())
			usleep(1000);
		for (;;) {
			ssize_t count = read(tty, line, sizeof line);
			if (count <= 0)
				_exit(8);
			CHECK(write(report, line, count) == count);
		}
	}
	loner = fork();
	if (!loner) {
		CHECK(!ioctl(slave, TIOCNOTTY));
		await("/data/go");
		char fine = open("/dev/tty", O_RDWR) < 0 && errno == ENXIO ? 'y' : 'n';
		_exit(write(report, &fine, 1) != 1);
	}
	CHECK(!setpgid(reader, reader));
	signal(SIGTTOU, SIG_IGN);
	CHECK(!tcsetpgrp(tty, reader));
	CHECK(write(report, "+", 1) == 1);
	int status;
	CHECK(waitpid(loner, &status, 0) == loner && status == 0);
	char fine = tcgetpgrp(tty) == reader && tcgetsid(slave) == getpid() && isatty(tty) ? 'y' : 'n';
	CHECK(write(report, &fine, 1) == 1);
	CHECK(waitpid(reader, &status, 0) == reader);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 9);
}

void terminals(void)
{
	int slave, hung, deserted_slave, report[2];
	int master = open_master(&slave);
	int closed = open_master(NULL);
	int gone = open_master(&hung);
	int deserted = open_master(&deserted_slave);
	int locked = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	int fresh = open_master(NULL);
	CHECK(!close(closed) && !close(gone) && !close(deserted_slave));
	struct winsize size = { 33, 77, 5, 6 };
	CHECK(!ioctl(master, TIOCSWINSZ, &size));
	struct termios settings;
	CHECK(!tcgetattr(slave, &settings));
	settings.c_cc[VERASE] = 'e';
	settings.c_lflag &= ~ECHOCTL;
	CHECK(!tcsetattr(slave, TCSANOW, &settings) && !fchown(slave, 12, 34));
	int packets = 1;
	CHECK(!ioctl(fresh, TIOCPKT, &packets) && !pipe(report));
	pid_t child = fork();
	if (!child)
		session(slave, report[1]);
	char byte;
	CHECK(read(report[0], &byte, 1) == 1 && byte == '+');
	stage();
	char name[32];
	for (int round = 0; round < 2; round++)
		CHECK(read(report[0], &byte, 1) == 1 && byte == 'y');
	CHECK(!strcmp(ptsname(master), "/dev/pts/0") && !strcmp(ptsname(deserted), "/dev/pts/3"));
	CHECK(!ttyname_r(slave, name, sizeof name) && !strcmp(name, "/dev/pts/0"));
	CHECK(!ioctl(slave, TIOCGWINSZ, &size) && size.ws_row == 33 && size.ws_col == 77 && size.ws_ypixel == 6);
	CHECK(!tcgetattr(slave, &settings) && settings.c_cc[VERASE] == 'e' && !(settings.c_lflag & ECHOCTL));
	CHECK(settings.c_lflag & ICANON);
	struct stat about;
	CHECK(!fstat(slave, &about) && about.st_uid == 12 && about.st_gid == 34);
	CHECK(write(master, "abxe\n", 5) == 5 && says(report[0], "ab\n"));
	CHECK(says(master, "abx\b \b\r\n"));
	CHECK(read(hung, name, 1) == 0);
	CHECK(read(deserted, name, 1) == -1 && errno == EIO);
	CHECK(open(ptsname(locked), O_RDWR | O_NOCTTY) == -1 && errno == EIO);
	CHECK(fcntl(locked, F_GETFL) & O_NONBLOCK);
	CHECK(read(locked, name, 1) == -1 && errno == EAGAIN);
	int late = open(ptsname(fresh), O_RDWR | O_NOCTTY);
	CHECK(late >= 0 && write(late, "x", 1) == 1 && read(fresh, name, 2) == 2 && name[0] == 0 && name[1] == 'x');
	int status;
	CHECK(write(master, "\3", 1) == 1 && waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
