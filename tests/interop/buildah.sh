engine() { buildah --root "$DIR/root" --runroot "$DIR/run" --storage-driver vfs "$@"; }
options="--runtime $RUNTIME --isolation oci --network none"
limits="--ulimit nofile=1000:1000 --ulimit nproc=1000:1000"
mkdir "$DIR/context"
cat >"$DIR/context/Dockerfile" <<END
FROM docker-archive:$IMAGE
RUN echo built >/made && id -u >>/made
USER 7
RUN test \$(id -u) = 7
END
ends 0 engine bud $options $limits -t made:1 "$DIR/context"
container=$(engine from made:1)
is "built
0" engine run $options "$container" cat /made
ends 3 engine run $options "$container" sh -c 'exit 3'
ends 0 engine rm "$container"
well_done
