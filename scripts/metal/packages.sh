# Scripts source this file. `need PACKAGE...` installs the Debian packages that are missing.
need() {
    missing=
    for package; do
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return
    echo "installing$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends $missing >/dev/null
}
