/* Small programs that set something up, are taken through a checkpoint and a
 * restore, and judge themselves: `programs NAME`. When all is set up the file
 * /data/ready appears; when /data/go is there they look at what they have and
 * write /data/verdict: "ok", or what is wrong. */
#include "programs.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

void verdict(const char *format, ...)
{
	char text[512];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	int fd = open("/data/verdict.new", O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (write(fd, text, strlen(text)) < 0 || rename("/data/verdict.new", "/data/verdict"))
		_exit(99);
	_exit(strcmp(text, "ok") ? 1 : 0);
}

void ready(void)
{
	int fd = open("/data/ready", O_CREAT | O_WRONLY, 0644);
	CHECK(fd >= 0 && !close(fd));
}

void await(const char *path)
{
	struct timespec pause = { 0, 5000000 };
	while (access(path, F_OK))
		nanosleep(&pause, NULL);
}

void stage(void)
{
	ready();
	await("/data/go");
}

/* Memory that was given back to the kernel reads as zero, as malloc counts on. */
static void dontneed(void)
{
	size_t size = 64 << 20, dirty = 0;
	char *all = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t at = 0; at < size; at++)
		all[at] = (char)(at / 4096 + 1) | 1;
	stage();
	for (size_t at = 0; at < size; at++)
		CHECK(all[at] == ((char)(at / 4096 + 1) | 1));
	CHECK(!madvise(all, size, MADV_DONTNEED));
	for (size_t at = 0; at < size; at++)
		dirty += all[at] != 0;
	if (dirty)
		verdict("%zu of %zu bytes are not zero", dirty, size);
	memset(all, 7, size);
	CHECK(!madvise(all, size, MADV_FREE));
}

static char in_data[5000] = "data";
static char in_bss[20000];
static const char constant[] = "constant";

static void memory(void)
{
	char on_stack[9000];
	memset(on_stack, 5, sizeof on_stack);
	memset(in_bss, 6, sizeof in_bss);
	in_data[4999] = 8;
	char *heap = malloc(300000);
	memset(heap, 9, 300000);
	char *hidden = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(hidden, "hidden");
	CHECK(!mprotect(hidden, 8192, PROT_NONE));
	char *sparse = mmap(0, 1ul << 32, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* Where huge pages are for everybody, this would take 3 GB. */
	CHECK(!madvise(sparse, 1ul << 32, MADV_NOHUGEPAGE));
	for (int at = 0; at < 3000; at++)
		sparse[(size_t)at * 1048576 + at] = 1 + at % 100;
	int fd = open("/data/mapped", O_CREAT | O_RDWR, 0644);
	char block[12288];
	memset(block, 'f', sizeof block);
	CHECK(write(fd, block, sizeof block) == sizeof block);
	char *private = mmap(0, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *shared = mmap(0, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private[4096] = 'p';
	char *locked = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(locked, "locked");
	char *wiped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(!madvise(wiped, 4096, MADV_WIPEONFORK));
	strcpy(wiped, "wiped");
	void *brk_before = sbrk(0);
	close(fd);
	stage();
	for (size_t at = 0; at < sizeof on_stack; at++)
		CHECK(on_stack[at] == 5);
	for (size_t at = 0; at < sizeof in_bss; at++)
		CHECK(in_bss[at] == 6);
	for (size_t at = 0; at < 300000; at++)
		CHECK(heap[at] == 9);
	CHECK(!strcmp(in_data, "data") && in_data[4999] == 8 && !strcmp(constant, "constant"));
	CHECK(!mprotect(hidden, 8192, PROT_READ) && !strcmp(hidden, "hidden"));
	for (int at = 0; at < 3000; at++)
		CHECK(sparse[(size_t)at * 1048576 + at] == 1 + at % 100);
	CHECK(sparse[4095] == 0);
	CHECK(private[0] == 'f' && private[4096] == 'p' && shared[4096] == 'f');
	shared[0] = 's';
	fd = open("/data/mapped", O_RDONLY);
	CHECK(read(fd, block, 1) == 1 && block[0] == 's');
	CHECK(private[0] == 's' && !strcmp(locked, "locked") && !strcmp(wiped, "wiped"));
	CHECK(sbrk(0) == brk_before && sbrk(65536) == brk_before);
	if (!fork())
		_exit(wiped[0] != 0);
	int status;
	CHECK(wait(&status) > 0 && status == 0);
	/* The stack grows as before. */
	volatile char deep[1 << 20];
	deep[0] = 1;
	CHECK(deep[0] == 1);
	free(heap);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int turn, tids[4];
static __thread int own;

static void *thread(void *argument)
{
	int number = (int)(intptr_t)argument;
	char name[16];
	sigset_t set;
	own = 100 + number;
	snprintf(name, sizeof name, "worker-%d", number);
	prctl(PR_SET_NAME, name);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + number);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	tids[number] = (int)syscall(SYS_gettid);
	volatile double sum = 0.5 + number;
	pthread_mutex_lock(&mutex);
	while (turn != number)
		pthread_cond_wait(&condition, &mutex);
	sigset_t now;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	char got[16];
	prctl(PR_GET_NAME, got);
	CHECK(own == 100 + number && sum == 0.5 + number && !strcmp(got, name));
	CHECK(sigismember(&now, SIGRTMIN + number) && syscall(SYS_gettid) == tids[number]);
	turn++;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	return (void *)(intptr_t)(number * 7);
}

static void threads(void)
{
	pthread_t all[4];
	turn = -1;
	for (int number = 0; number < 4; number++)
		pthread_create(&all[number], NULL, thread, (void *)(intptr_t)number);
	for (int number = 0; number < 4; number++)
		while (!*(volatile int *)&tids[number])
			usleep(1000);
	usleep(20000);
	stage();
	pthread_mutex_lock(&mutex);
	turn = 0;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	for (int number = 0; number < 4; number++) {
		void *result;
		CHECK(!pthread_join(all[number], &result) && result == (void *)(intptr_t)(number * 7));
	}
}

static void tree(void)
{
	int ends[2];
	CHECK(!pipe(ends));
	int before = getpid();
	int zombie = fork();
	if (!zombie)
		_exit(42);
	int killed = fork();
	if (!killed) {
		pause();
		_exit(0);
	}
	kill(killed, SIGTERM);
	int leader = fork();
	if (!leader) {
		setsid();
		int child = fork();
		if (!child) {
			int me = getpid(), parent = getppid(), session = getsid(0);
			if (write(ends[1], "x", 1) != 1)
				_exit(9);
			await("/data/go");
			_exit(getpid() == me && getppid() == parent && getsid(0) == session ? 3 : 4);
		}
		int status;
		waitpid(child, &status, 0);
		_exit(WEXITSTATUS(status) == 3 && getsid(0) == getpid() ? 5 : 6);
	}
	int member = fork();
	if (!member) {
		setpgid(0, 0);
		if (write(ends[1], "x", 1) != 1)
			_exit(9);
		await("/data/go");
		_exit(getpgid(0) == getpid() ? 7 : 8);
	}
	/* An orphan, whose session's leader has ended. */
	int gone = fork();
	if (!gone) {
		setsid();
		if (!fork()) {
			int session = getsid(0);
			while (getppid() != 1)
				usleep(1000);
			if (write(ends[1], "x", 1) != 1)
				_exit(9);
			await("/data/go");
			_exit(getsid(0) == session && getppid() == 1 ? 11 : 12);
		}
		_exit(0);
	}
	int status;
	CHECK(waitpid(gone, &status, 0) == gone);
	char byte;
	for (int count = 0; count < 3; count++)
		CHECK(read(ends[0], &byte, 1) == 1);
	siginfo_t info;
	CHECK(!waitid(P_PID, zombie, &info, WEXITED | WNOWAIT));
	CHECK(!waitid(P_PID, killed, &info, WEXITED | WNOWAIT));
	stage();
	CHECK(getpid() == before);
	CHECK(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 42);
	CHECK(waitpid(killed, &status, 0) == killed && WTERMSIG(status) == SIGTERM);
	CHECK(waitpid(leader, &status, 0) == leader && WEXITSTATUS(status) == 5);
	CHECK(waitpid(member, &status, 0) == member && WEXITSTATUS(status) == 7);
	CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 11);
	CHECK(wait(&status) < 0 && errno == ECHILD);
}

static void shared(void)
{
	size_t size = 1 << 20;
	int *both = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("mine", MFD_ALLOW_SEALING);
	CHECK(!ftruncate(fd, 123456));
	char *file = mmap(0, 123456, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	strcpy(file + 100000, "memfd");
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	int id = shmget(0x1234, 70000, IPC_CREAT | 0640);
	CHECK(id >= 0);
	char *segment = shmat(id, NULL, 0);
	strcpy(segment + 50000, "segment");
	both[1000] = 77;
	int child = fork();
	if (!child) {
		both[1] = 1;
		while (both[2] != 2)
			usleep(1000);
		CHECK(!strcmp(segment + 50000, "parent"));
		strcpy(segment + 50000, "child");
		both[3] = both[1000];
		strcpy(file + 100000, "child");
		_exit(0);
	}
	while (((volatile int *)both)[1] != 1)
		usleep(1000);
	stage();
	CHECK(!strcmp(segment + 50000, "segment") && !strcmp(file + 100000, "memfd"));
	strcpy(segment + 50000, "parent");
	both[2] = 2;
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(both[3] == 77 && !strcmp(segment + 50000, "child"));
	char text[6];
	CHECK(pread(fd, text, 6, 100000) == 6 && !strcmp(text, "child"));
	struct stat stat;
	CHECK(!fstat(fd, &stat) && stat.st_size == 123456);
	CHECK(fcntl(fd, F_GET_SEALS) == F_SEAL_SHRINK && ftruncate(fd, 1) < 0);
	struct shmid_ds info;
	CHECK(!shmctl(id, IPC_STAT, &info) && info.shm_segsz == 70000);
	CHECK((info.shm_perm.mode & 0777) == 0640 && shmget(0x1234, 0, 0) == id);
	CHECK(!shmctl(id, IPC_RMID, NULL));
}

static void pipes(void)
{
	int full[2], closed[2], packets[2], link[2];
	static char text[200000], got[200000];
	CHECK(!pipe2(full, O_CLOEXEC) && !pipe(closed) && !pipe2(packets, O_DIRECT) && !pipe(link));
	CHECK(fcntl(full[1], F_SETPIPE_SZ, 262144) == 262144);
	for (size_t at = 0; at < sizeof text; at++)
		text[at] = (char)(at * 31);
	CHECK(write(full[1], text, sizeof text) == sizeof text);
	CHECK(write(closed[1], "last", 4) == 4 && !close(closed[1]));
	fcntl(link[0], F_SETFL, O_NONBLOCK);
	int copy = dup(link[1]);
	int child = fork();
	if (!child) {
		close(full[1]);
		size_t done = 0;
		await("/data/go");
		while (done < sizeof got) {
			ssize_t count = read(full[0], got + done, sizeof got - done);
			if (count <= 0)
				_exit(1);
			done += count;
		}
		_exit(memcmp(text, got, sizeof text) != 0);
	}
	stage();
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(fcntl(full[1], F_GETPIPE_SZ) == 262144 && fcntl(full[0], F_GETFD) == FD_CLOEXEC);
	char bytes[8];
	CHECK(read(closed[0], bytes, 8) == 4 && !memcmp(bytes, "last", 4));
	CHECK(read(closed[0], bytes, 8) == 0);
	CHECK(read(link[0], bytes, 8) < 0 && errno == EAGAIN);
	CHECK(write(copy, "z", 1) == 1 && read(link[0], bytes, 8) == 1);
	CHECK(fcntl(packets[1], F_GETFL) & O_DIRECT);
}

static volatile int handled[65], value;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)context;
	handled[signal]++;
	if (signal != SIGUSR1)
		value = info->si_value.sival_int;
}

static void signals(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigset_t set, now;
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGRTMIN + 3, &action, NULL);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	union sigval first = { .sival_int = 11 }, second = { .sival_int = 22 };
	sigqueue(getpid(), SIGRTMIN + 3, first);
	sigqueue(getpid(), SIGRTMIN + 3, second);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	stage();
	CHECK(!handled[SIGUSR1] && !handled[SIGRTMIN + 3]);
	sigpending(&now);
	CHECK(sigismember(&now, SIGUSR1) && sigismember(&now, SIGRTMIN + 3));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(handled[SIGUSR1] == 1 && handled[SIGRTMIN + 3] == 2 && (value == 11 || value == 22));
	kill(getpid(), SIGUSR2);
	stack_t got;
	CHECK(!sigaltstack(NULL, &got) && got.ss_sp == stack.ss_sp && got.ss_size == 65536);
}

static void on_tick(int signal)
{
	handled[signal]++;
}

static void timers(void)
{
	struct timespec before, after;
	clock_gettime(CLOCK_MONOTONIC, &before);
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec far = { { 0, 0 }, { 3600, 0 } }, soon = { { 0, 20000000 }, { 0, 20000000 } };
	CHECK(!timerfd_settime(fd, 0, &far, NULL));
	int ticking = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	CHECK(!timerfd_settime(ticking, 0, &soon, NULL));
	signal(SIGALRM, on_tick);
	signal(SIGRTMIN, on_tick);
	struct itimerval interval = { { 0, 30000 }, { 0, 30000 } };
	setitimer(ITIMER_REAL, &interval, NULL);
	timer_t one, two;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &one));
	CHECK(!timer_create(CLOCK_REALTIME, &event, &two) && !timer_delete(one));
	CHECK(!timer_settime(two, 0, &soon, NULL));
	stage();
	clock_gettime(CLOCK_MONOTONIC, &after);
	CHECK(after.tv_sec >= before.tv_sec && after.tv_sec < before.tv_sec + 120);
	struct itimerspec left;
	CHECK(!timerfd_gettime(fd, &left) && left.it_value.tv_sec > 3480 && left.it_value.tv_sec < 3600);
	handled[SIGALRM] = handled[SIGRTMIN] = 0;
	for (int count = 0; count < 1000 && (!handled[SIGALRM] || !handled[SIGRTMIN]); count++)
		usleep(5000);
	CHECK(handled[SIGALRM] && handled[SIGRTMIN]);
	uint64_t ticks;
	CHECK(read(ticking, &ticks, 8) == 8 && ticks > 0);
	CHECK(!timer_delete(two));
}

static void events(void)
{
	int counter = eventfd(7, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, 0);
	int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2];
	CHECK(!pipe(ends));
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0x1234567890 };
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
	event.data.u64 = 5;
	event.events = EPOLLIN | EPOLLET;
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event));
	/* Watched under a number that is another file now. */
	int moved = dup(ends[0]);
	event.data.u64 = 6;
	event.events = EPOLLIN;
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, moved, &event));
	CHECK(dup2(semaphore, moved) == moved);
	stage();
	uint64_t count;
	CHECK(read(counter, &count, 8) == 8 && count == 7);
	CHECK(read(counter, &count, 8) < 0 && errno == EAGAIN);
	CHECK(read(semaphore, &count, 8) == 8 && count == 1);
	CHECK(write(ends[1], "x", 1) == 1);
	struct epoll_event got[4];
	int found = epoll_wait(epoll, got, 4, 1000);
	int seen = 0;
	for (int at = 0; at < found; at++)
		seen |= got[at].data.u64 == 0x1234567890 ? 1 : got[at].data.u64 == 6 ? 2 : 4;
	CHECK((seen & 3) == 3);
	kill(getpid(), SIGUSR1);
	struct signalfd_siginfo info;
	CHECK(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1);
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL));
}

static void files(void)
{
	char text[16] = { 0 };
	mkdir("/data/sub", 0755);
	CHECK(!chdir("/data/sub"));
	umask(027);
	int fd = open("/data/file", O_CREAT | O_RDWR | O_TRUNC, 0644);
	CHECK(write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4);
	int copy = dup(fd), other = open("/data/file", O_RDONLY);
	int log = open("/data/log", O_CREAT | O_WRONLY | O_APPEND, 0644);
	CHECK(write(log, "one\n", 4) == 4);
	int removed = open("/data/removed", O_CREAT | O_RDWR, 0600);
	CHECK(write(removed, "still here", 10) == 10 && !unlink("/data/removed"));
	CHECK(!flock(log, LOCK_EX));
	struct flock lock = { .l_type = F_WRLCK, .l_start = 2, .l_len = 3 };
	CHECK(!fcntl(fd, F_SETLK, &lock));
	int directory = open("/data", O_RDONLY | O_DIRECTORY), path = open("/data/file", O_PATH);
	fcntl(900, F_GETFD);
	CHECK(dup2(other, 900) == 900);
	struct rlimit limit = { 1000, 1500 };
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	stage();
	CHECK(read(fd, text, 2) == 2 && !strcmp(text, "45"));
	CHECK(read(copy, text, 2) == 2 && !strcmp(text, "67"));
	CHECK(read(other, text, 2) == 2 && !strcmp(text, "01"));
	CHECK(read(900, text, 2) == 2 && !strcmp(text, "23"));
	CHECK(write(log, "two\n", 4) == 4 && lseek(log, 0, SEEK_END) == 8);
	CHECK(pread(removed, text, 10, 0) == 10 && !strcmp(text, "still here"));
	struct stat stat;
	CHECK(!fstat(removed, &stat) && stat.st_nlink == 0 && (stat.st_mode & 0777) == 0600);
	char where[64];
	CHECK(!strcmp(getcwd(where, 64), "/data/sub") && umask(0) == 027);
	if (!fork()) {
		int again = open("/data/log", O_RDONLY), locked = open("/data/file", O_RDWR);
		int held = flock(again, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
		struct flock ask = { .l_type = F_WRLCK, .l_start = 0, .l_len = 10 };
		fcntl(locked, F_GETLK, &ask);
		_exit(!(held && ask.l_type == F_WRLCK && ask.l_start == 2 && ask.l_len == 3));
	}
	int status;
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(!fstatat(directory, "file", &stat, 0) && fcntl(path, F_GETFL) & O_PATH);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur == 1000 && limit.rlim_max == 1500);
}

static void identity(void)
{
	gid_t groups[] = { 10, 20 };
	CHECK(!setgroups(2, groups) && !prctl(PR_SET_KEEPCAPS, 1));
	CHECK(!setresgid(33, 34, 35) && !setresuid(1000, 1001, 1002));
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0, 1 << CAP_KILL, 0 } }, got[2];
	CHECK(!syscall(SYS_capset, &header, data) && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGUSR2) && !prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK(!prctl(PR_SET_DUMPABLE, 1) && nice(5) == 5);
	stage();
	uid_t uids[3];
	gid_t gids[3], now[8];
	CHECK(!getresuid(&uids[0], &uids[1], &uids[2]) && !getresgid(&gids[0], &gids[1], &gids[2]));
	CHECK(uids[0] == 1000 && uids[1] == 1001 && uids[2] == 1002);
	CHECK(gids[0] == 33 && gids[1] == 34 && gids[2] == 35);
	CHECK(getgroups(8, now) == 2 && now[0] == 10 && now[1] == 20);
	CHECK(!syscall(SYS_capget, &header, got));
	CHECK(got[0].permitted == 1 << CAP_KILL && !got[0].effective && !got[1].permitted);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 1);
	int death, reaper;
	CHECK(!prctl(PR_GET_PDEATHSIG, &death) && death == SIGUSR2);
	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &reaper) && reaper == 1 && getpriority(PRIO_PROCESS, 0) == 5);
	/* The capability to change users was given up. */
	CHECK(setresuid(0, 0, 0) < 0);
}

/* System calls in which it is caught go on, and nobody sees EINTR. */
static void waiting(void)
{
	int ends[2], watched[2];
	CHECK(!pipe(ends) && !pipe(watched));
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN }, got;
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, watched[0], &event));
	int reader = fork();
	if (!reader) {
		char byte;
		_exit(read(ends[0], &byte, 1) != 1 || byte != 'r');
	}
	int waiter = fork();
	if (!waiter)
		_exit(epoll_wait(epoll, &got, 1, 60000) != 1);
	int sleeper = fork();
	if (!sleeper) {
		struct timespec time = { 1, 500000000 }, left;
		_exit(nanosleep(&time, &left) != 0);
	}
	int stopped = fork();
	if (!stopped) {
		raise(SIGSTOP);
		_exit(17);
	}
	int status;
	CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status));
	usleep(20000);
	stage();
	CHECK(waitpid(stopped, &status, WNOHANG) == 0);
	CHECK(write(ends[1], "r", 1) == 1 && write(watched[1], "w", 1) == 1);
	CHECK(waitpid(sleeper, &status, 0) == sleeper && status == 0);
	CHECK(waitpid(waiter, &status, 0) == waiter && status == 0);
	CHECK(waitpid(reader, &status, 0) == reader && status == 0);
	kill(stopped, SIGCONT);
	CHECK(waitpid(stopped, &status, 0) == stopped && WEXITSTATUS(status) == 17);
}

/* A filter of the program's own: one call fails, all others work. */
static void filter(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 123),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog all = { 4, program };
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all));
	stage();
	CHECK(syscall(SYS_getpgrp) == -1 && errno == 123 && getpid() == 1);
}

/* Files of memory file systems, which are gone with the container. */
static void memory_files(void)
{
	char text[16], *shared, *private;
	struct stat stat_of;
	struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	CHECK(!mkdir("/tmp/a b", 0750) && !mkdir("/tmp/a b/deep", 01777) && !chown("/tmp/a b", 5, 6));
	int fd = open("/tmp/a b/deep/file", O_CREAT | O_RDWR, 0640);
	CHECK(pwrite(fd, "begin", 5, 0) == 5 && pwrite(fd, "end", 3, 5000000) == 3 && lseek(fd, 2, 0) == 2);
	CHECK(!link("/tmp/a b/deep/file", "/tmp/other") && !symlink("a b/deep/file", "/tmp/link"));
	CHECK(!mkfifo("/tmp/pipe", 0600) && !futimens(fd, times) && !fchown(fd, 7, 8));
	int mapped = open("/tmp/mapped", O_CREAT | O_RDWR, 0600), gone = open("/tmp/gone", O_CREAT | O_RDWR, 0600);
	CHECK(!ftruncate(mapped, 20000) && write(gone, "nameless", 8) == 8 && !unlink("/tmp/gone"));
	shared = mmap(0, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
	private = mmap(0, 20000, PROT_READ | PROT_WRITE, MAP_PRIVATE, mapped, 0);
	strcpy(shared + 10000, "shared");
	strcpy(private + 4096, "private");
	close(mapped);
	int device = open("/dev/own", O_CREAT | O_WRONLY, 0600);
	CHECK(write(device, "own", 3) == 3 && !close(device));
	stage();
	CHECK(read(fd, text, 3) == 3 && !memcmp(text, "gin", 3) && pread(fd, text, 3, 5000000) == 3);
	CHECK(!memcmp(text, "end", 3) && !fstat(fd, &stat_of) && stat_of.st_nlink == 2 && stat_of.st_blocks < 100);
	CHECK(stat_of.st_uid == 7 && stat_of.st_gid == 8 && (stat_of.st_mode & 07777) == 0640);
	CHECK(stat_of.st_mtim.tv_sec == 2000 && stat_of.st_mtim.tv_nsec == 7 && stat_of.st_size == 5000003);
	CHECK(!stat("/tmp/a b", &stat_of) && stat_of.st_uid == 5 && (stat_of.st_mode & 07777) == 0750);
	CHECK(!stat("/tmp/a b/deep", &stat_of) && (stat_of.st_mode & 07777) == 01755);
	CHECK(!stat("/tmp/link", &stat_of) && stat_of.st_size == 5000003);
	CHECK(!stat("/tmp/pipe", &stat_of) && S_ISFIFO(stat_of.st_mode) && access("/tmp/gone", F_OK));
	CHECK(!strcmp(shared + 10000, "shared") && !strcmp(private + 4096, "private"));
	CHECK(!strcmp(private + 10000, "shared") && pread(gone, text, 8, 0) == 8);
	mapped = open("/tmp/mapped", O_RDWR);
	CHECK(pread(mapped, text, 6, 10000) == 6 && !memcmp(text, "shared", 6));
	strcpy(shared, "later");
	CHECK(pread(mapped, text, 5, 0) == 5 && !memcmp(text, "later", 5) && !access("/dev/own", F_OK));
	fd = open("/tmp/link", O_WRONLY);
	CHECK(write(fd, "w", 1) == 1);
}

static void semaphores(void)
{
	int spare = semget(IPC_PRIVATE, 1, 0600), id = semget(77, 3, IPC_CREAT | 0640);
	unsigned short values[] = { 5, 0, 300 }, got[3];
	CHECK(spare >= 0 && id >= 0 && !semctl(spare, 0, IPC_RMID) && !semctl(id, 0, SETALL, values));
	int waiter = fork();
	if (!waiter) {
		struct sembuf take = { 1, -1, 0 };
		_exit(semop(id, &take, 1) != 0);
	}
	usleep(20000);
	stage();
	struct semid_ds about;
	struct sembuf give = { 1, 1, 0 };
	CHECK(semget(77, 3, 0) == id && !semctl(id, 0, GETALL, got) && !memcmp(values, got, sizeof got));
	CHECK(!semctl(id, 0, IPC_STAT, &about) && (about.sem_perm.mode & 0777) == 0640);
	int status;
	CHECK(!semop(id, &give, 1) && waitpid(waiter, &status, 0) == waiter && status == 0);
	CHECK(!semctl(id, 0, IPC_RMID));
}

static void queues(void)
{
	struct {
		long kind;
		char text[9000];
	} message = { 3, "first" };
	int id = msgget(88, IPC_CREAT | 0600);
	CHECK(id >= 0 && !msgsnd(id, &message, 6, 0));
	message.kind = 2;
	memset(message.text, 's', 8000);
	CHECK(!msgsnd(id, &message, 8000, 0));
	stage();
	CHECK(msgget(88, 0) == id && msgrcv(id, &message, 9000, 2, IPC_NOWAIT) == 8000 && message.text[7999] == 's');
	CHECK(msgrcv(id, &message, 9000, 0, IPC_NOWAIT) == 6 && message.kind == 3 && !strcmp(message.text, "first"));
	CHECK(msgrcv(id, &message, 9000, 0, IPC_NOWAIT) < 0 && errno == ENOMSG && !msgctl(id, IPC_RMID, NULL));
}

/* Not carried: it notices nothing. */
static void unattached(void)
{
	int spare = shmget(IPC_PRIVATE, 1, 0600), id = shmget(99, 300000, IPC_CREAT | 0640);
	int attached = shmget(100, 5000, IPC_CREAT | 0600);
	CHECK(spare >= 0 && id >= 0 && !shmctl(spare, IPC_RMID, NULL));
	char *text = shmat(id, NULL, 0), *other = shmat(attached, NULL, 0);
	strcpy(text + 200000, "kept by nobody");
	strcpy(other, "kept");
	CHECK(!shmdt(text));
	stage();
	struct shmid_ds about;
	CHECK(shmget(99, 0, 0) == id && !shmctl(id, IPC_STAT, &about) && about.shm_nattch == 0);
	CHECK(about.shm_segsz == 300000 && (about.shm_perm.mode & 0777) == 0640);
	text = shmat(id, NULL, 0);
	CHECK(text != (void *)-1 && !strcmp(text + 200000, "kept by nobody") && !text[0] && !strcmp(other, "kept"));
	CHECK(!shmctl(id, IPC_RMID, NULL) && !shmctl(attached, IPC_RMID, NULL));
}

/* What nobody can read: it is refused. */
static void undoing(void)
{
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf give = { 0, 1, SEM_UNDO };
	CHECK(id >= 0 && !semop(id, &give, 1));
	stage();
	CHECK(!semctl(id, 0, IPC_RMID));
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static int fails_to_read(const char *place)
{
	int ends[2];
	CHECK(!pipe(ends));
	int result = write(ends[1], place, 1) == -1 && errno == EFAULT;
	close(ends[0]);
	close(ends[1]);
	return result;
}

/* Guard pages, a library that was replaced while it was in use, and barriers. */
static void odd_memory(void)
{
	char *all = mmap(0, 40960, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(all, 'a', 40960);
	int guards = !madvise(all + 8192, 4096, MADV_GUARD_INSTALL) && !madvise(all, 4096, MADV_GUARD_INSTALL);
	char block[12288];
	memset(block, 'l', sizeof block);
	int fd = open("/data/library", O_CREAT | O_RDWR, 0755);
	CHECK(fd >= 0 && write(fd, block, sizeof block) == sizeof block);
	char *library = mmap(0, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *readable = mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 4096);
	library[4096] = 'w';
	CHECK(!close(fd) && !unlink("/data/library"));
	int memory = syscall(SYS_memfd_create, "private", 0);
	CHECK(memory >= 0 && write(memory, block, 4096) == 4096);
	char *of_memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0);
	of_memory[1] = 'm';
	CHECK(!close(memory));
	/* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */
	CHECK(!syscall(SYS_membarrier, 16, 0, 0));
	stage();
	CHECK(!syscall(SYS_membarrier, 8, 0, 0));
	CHECK(!guards || (fails_to_read(all) && fails_to_read(all + 8192)));
	for (int at = 4096; at < 40960; at++)
		CHECK((at >= 8192 && at < 12288) || all[at] == 'a');
	CHECK(library[0] == 'l' && library[4096] == 'w' && library[4097] == 'l' && library[12287] == 'l');
	CHECK(readable[0] == 'l' && readable[8191] == 'l' && of_memory[0] == 'l' && of_memory[1] == 'm');
	CHECK(!madvise(library, 12288, MADV_DONTNEED) && library[4096] == 'l');
}

static void named_pipes(void)
{
	char text[16];
	CHECK(!mkfifo("/tmp/fifo", 0600) && !mkfifo("/data/fifo", 0600));
	int both = open("/tmp/fifo", O_RDWR), reader = open("/data/fifo", O_RDONLY | O_NONBLOCK);
	int writer = open("/data/fifo", O_WRONLY), other = open("/data/fifo", O_WRONLY);
	CHECK(both >= 0 && write(both, "circle", 6) == 6 && write(writer, "one", 3) == 3 && write(other, "two", 3) == 3);
	CHECK(!close(other));
	stage();
	CHECK(read(both, text, 16) == 6 && !memcmp(text, "circle", 6));
	CHECK(read(reader, text, 16) == 6 && !memcmp(text, "onetwo", 6));
	CHECK(read(reader, text, 16) < 0 && errno == EAGAIN && !close(writer) && read(reader, text, 16) == 0);
}

/* Registers of the floating point unit and of vectors. */
static void registers(void)
{
	double seeds[8], results[8], expected[8];
	for (int at = 0; at < 8; at++)
		seeds[at] = results[at] = 1.0 + at;
	ready();
	int round = 0;
	for (; access("/data/go", F_OK) || round < 1000; round++)
		for (int at = 0; at < 8; at++)
			results[at] = results[at] * 1.0000001 + 0.25 / (1 + at);
	for (int at = 0; at < 8; at++) {
		expected[at] = seeds[at];
		for (int count = 0; count < round; count++)
			expected[at] = expected[at] * 1.0000001 + 0.25 / (1 + at);
		CHECK(expected[at] == results[at]);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} all[] = {
	{ "dontneed", dontneed }, { "memory", memory },	  { "threads", threads },
	{ "tree", tree },	  { "shared", shared },	  { "pipes", pipes },
	{ "signals", signals },	  { "timers", timers },	  { "events", events },
	{ "files", files },	  { "identity", identity }, { "waiting", waiting },
	{ "registers", registers }, { "filter", filter }, 
	{ "semaphores", semaphores }, { "queues", queues }, { "unattached", unattached },
	{ "undoing", undoing }, { "odd_memory", odd_memory },
	{ "named_pipes", named_pipes }, { "unix_streams", unix_streams },
	{ "unix_messages", unix_messages }, { "unix_names", unix_names },
	{ "network", network }, { "connected", connected },
	{ "disconnected", disconnected },
	{ "memory_files", memory_files }, { "generations", generations }, { "heap", heap },
	{ "droppable", droppable },
	{ "terminals", terminals }, { "watching", watching }, { "aio", aio },
	{ "written", written },	  { "settled", settled },
	{ "shared_settled", shared_settled }, { "shared_written", shared_written },
	{ "revised", revised },
};

int main(int count, char **arguments)
{
	for (size_t at = 0; count > 1 && at < sizeof all / sizeof *all; at++)
		if (!strcmp(all[at].name, arguments[1])) {
			all[at].run();
			verdict("ok");
		}
	return 98;
}
