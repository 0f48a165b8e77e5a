/* inotify: watches of directories and files, by their numbers, on several file systems. */
#include "programs.h"

#include <poll.h>
#include <sys/inotify.h>

static void touch(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);
	CHECK(fd >= 0 && write(fd, "x", 1) == 1 && !close(fd));
}

/* The next event, or one of those that come together, is that one. */
static void hears(int fd, int watch, uint32_t mask, const char *name)
{
	char buffer[4096] __attribute__((aligned(8)));
	struct pollfd ready = { fd, POLLIN, 0 };
	CHECK(poll(&ready, 1, 10000) == 1);
	CHECK(read(fd, buffer, sizeof buffer) > 0);
	struct inotify_event *event = (void *)buffer;
	if (event->wd != watch || !(event->mask & mask) || strcmp(event->len ? event->name : "", name))
		verdict("wanted %d %x %s, heard %d %x %s", watch, mask, name, event->wd, event->mask,
			event->len ? event->name : "");
}

void watching(void)
{
	CHECK(!mkdir("/data/deep", 0755) && !mkdir("/data/deep/er", 0755) && !mkdir("/tmp/watched", 0755));
	touch("/data/deep/er/file");
	touch("/data/deep/er/other");
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), other = inotify_init();
	int gone = inotify_add_watch(fd, "/data", IN_CREATE);
	int deep = inotify_add_watch(fd, "/data/deep", IN_ALL_EVENTS & ~(IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE));
	int file = inotify_add_watch(fd, "/data/deep/er/file", IN_MODIFY);
	int again = inotify_add_watch(fd, "/data/deep/er/other", IN_ATTRIB | IN_ONESHOT);
	int memory = inotify_add_watch(fd, "/tmp/watched", IN_CREATE | IN_DELETE);
	int everything = inotify_add_watch(other, "/bin", IN_ALL_EVENTS);
	CHECK(gone == 1 && deep == 2 && file == 3 && again == 4 && memory == 5 && everything == 1);
	CHECK(!inotify_rm_watch(fd, gone));
	char buffer[4096];
	CHECK(read(fd, buffer, sizeof buffer) == sizeof(struct inotify_event));
	stage();
	CHECK(read(fd, buffer, sizeof buffer) == -1 && errno == EAGAIN);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && !(fcntl(other, F_GETFL) & O_NONBLOCK));
	touch("/data/deep/new");
	hears(fd, deep, IN_CREATE, "new");
	while (read(fd, buffer, sizeof buffer) > 0)
		;
	touch("/data/deep/er/file");
	hears(fd, file, IN_MODIFY, "");
	touch("/tmp/watched/new");
	hears(fd, memory, IN_CREATE, "new");
	CHECK(!chmod("/data/deep/er/other", 0600));
	hears(fd, again, IN_ATTRIB, "");
	while (read(fd, buffer, sizeof buffer) > 0)
		;
	/* It was for one time. */
	CHECK(!chmod("/data/deep/er/other", 0644) && read(fd, buffer, sizeof buffer) == -1);
	int next = inotify_add_watch(fd, "/", IN_CREATE);
	CHECK(next > memory && !inotify_rm_watch(fd, memory));
	/* Nobody else was there. */
	struct pollfd ready = { other, POLLIN, 0 };
	CHECK(poll(&ready, 1, 0) == 0);
	CHECK(open("/bin/programs", O_RDONLY) >= 0 && read(other, buffer, sizeof buffer) > 0);
}
